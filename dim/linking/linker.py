"""The linker: a sentence, a mention and a picture in, ranked entities out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from dim.encoding.encode import encode_entities, encode_mentions
from dim.encoding.loading import fingerprint, load_dim
from dim.encoding.mention import Mention, mentions_of
from dim.encoding.prior_features import lexical_features
from dim.errors import DIMError
from dim.kb.store import KnowledgeBase
from dim.kb.view import up_to_date
from dim.linking.bundle import open_bundle
from dim.linking.calibration import FILE, Calibration
from dim.linking.candidates import CandidateSearch
from dim.linking.explain import explain
from dim.linking.links import LinkedEntity, Links
from dim.linking.mention import mention_row, one_picture_each, parse_brackets, read_pictures
from dim.linking.ranking import Ranking, rank_candidates
from dim.linking.reranker import FOLDER, Reranker
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.search.vectors import vectors_of

CANDIDATES = 64
_CHUNK = 8192  # mentions whose candidates are ranked at a time
_TEXTS = ("name", "aliases", "description")


class DIMLinker:
    """Links mentions to the entities of a knowledge base: candidates by names, texts and vectors, ranked by the model.

    The knowledge base may change while the linker is used: the next question sees it. An entity that is not encoded
    yet is found by its texts, and encoded when it is somebody's candidate.

    Args:
        model: A DIM.
        processor: Its processor.
        kb: Entities encoded by that very model.
        calibration: Makes scores probabilities and tells NIL.
        dtype: Of the arithmetic that reads texts (autocast); vectors, scores and ranking are float32 all the same.
        reranker: Reads the best candidates once more; `None` leaves the model's ranking as it is.

    Raises:
        DIMError: If another model encoded the knowledge base, or none did.

    Example:

        >>> linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")
        >>> links = linker("[[Turkey]] was everywhere that autumn.", image="demo/example.png", k=2)
        >>> sorted((entity.id, entity.name) for entity in links)  # the country, and the bird
        [('e1251', 'Turkey'), ('e1415', 'turkey')]
    """

    def __init__(
        self,
        model: DIMModel,
        processor: DIMProcessor,
        kb: KnowledgeBase,
        calibration: Calibration | None = None,
        dtype: torch.dtype = torch.float32,
        reranker: Reranker | None = None,
    ):
        kb.check_encoder(fingerprint(model, processor), complete=False)
        self.model, self.processor, self.kb, self.calibration = model.eval(), processor, kb, calibration
        self.search, self.reranker, self.dtype = CandidateSearch(kb), reranker, dtype

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        kb: str | Path | None = None,
        device: str | None = None,
        dtype: torch.dtype = torch.float32,
        rerank: int = 0,
        revision: str | None = None,
    ) -> "DIMLinker":
        """Loads a linker.

        Args:
            model: Folder or Hub name of a DIM; a `calibration.json` beside a folder's weights is used.
            kb: URI of a knowledge base that `dim kb create` or `KnowledgeBase.create` made; by default the one that
                the model's repository brings (`dim push linker`).
            device: `cpu`, `cuda` ...; the GPU by default if there is one.
            dtype: As above.
            rerank: How many of the best candidates the model's reranker reads once more (`dim train-reranker`; its
                folder is `reranker`, with a calibration of its own); the others are dropped. None by default.
            revision: Branch, tag or commit of a repository that brings its knowledge base.

        Returns:
            The linker.

        Raises:
            DIMError: If there is no such model or knowledge base, or they do not belong together.
        """
        folder, base = open_bundle(model, revision) if kb is None else (Path(model), KnowledgeBase.open(kb))
        network, processor = load_dim(model if kb is not None else folder)
        network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        beside = folder / FOLDER if rerank else folder
        reranker = Reranker.from_pretrained(beside, rerank, network.device) if rerank else None
        path = beside / FILE
        calibration = Calibration.load(path) if path.is_file() else None
        return cls(network, processor, base, calibration, dtype, reranker)

    def __call__(
        self,
        text: str,
        mention: str | None = None,
        image: object = None,
        k: int = 5,
        *,
        span: tuple[int, int] | None = None,
        expert_answer: str | None = None,
        why: bool = False,
    ) -> Links:
        """Ranks the entities for one mention.

        Args:
            text: The sentence, with the mention in double brackets if neither `mention` nor `span` is given. It may be
                empty: the mention is then read on its own.
            mention: What is mentioned; it need not stand in the sentence.
            image: The picture that belongs to the sentence: a path, bytes, or a PIL image; of several in a list, the
                mean of the mention's vectors counts. Without one the model goes by the text.
            k: How many entities, at most 64.
            span: Character offsets of the mention in the sentence.
            expert_answer: What an expert said about the picture.
            why: Whether to say what each score is made of; the mention is then encoded up to three times.

        Returns:
            The `k` best candidates, best first; fewer where the knowledge base has fewer, none where it is empty.

        Raises:
            DIMError: If the mention cannot be told, or `k` is out of range.
            PictureError: If the picture cannot be read.
        """
        row = mention_row(text, mention, span, read_pictures(image), expert_answer)
        [links] = self.link([row], k)
        return explain(self, row, links) if why else links

    def link_sentence(self, text: str, image: object = None, k: int = 5) -> list[Links]:
        """Links every mention that a sentence marks by double brackets; see [`DIMLinker.__call__`]."""
        plain, spans = parse_brackets(text)
        picture = read_pictures(image)
        return self.link([mention_row(plain, None, span, picture, None) for span in spans], k)

    def link(self, mentions: Sequence[dict], k: int = 5, **encoding: Any) -> list[Links]:
        """Ranks the entities for many mentions. A picture that cannot be read is missing, and told in a warning.

        Args:
            mentions: Rows as `encode_mentions` takes them.
            k: How many entities each, at most 64.
            **encoding: `batch_size`, `num_workers`, `progress` of `encode_mentions`.

        Returns:
            For each mention its `k` best candidates.

        Raises:
            DIMError: If a row is not as it should be, or `k` is out of range.
        """
        if not 1 <= k <= CANDIDATES:
            raise DIMError(f"k must lie between 1 and {CANDIDATES}, got {k}.")
        return [links for part in self.rank(mentions, **encoding) for links in self._links(part, k)]

    def link_batch(self, dataset: datasets.Dataset, k: int = 5, batch_size: int = 64, num_workers: int = 0,
                   progress: bool = True) -> datasets.Dataset:  # fmt: skip
        """Links the mentions of a dataset.

        Args:
            dataset: Columns `mention`, `sentence`, `start`, `end`, and where there are any `image`, `expert_answer`.
            k: How many entities each, at most 64.
            batch_size: Mentions encoded at a time.
            num_workers: Processes that decode pictures and tokenise.
            progress: Whether to show bars.

        Returns:
            The dataset with the columns `linked_id` (empty for NIL), `linked_confidence`, `linked_nil`, and of the `k`
            best `candidate_ids`, `candidate_scores` and `candidate_confidences`.

        Raises:
            DIMError: If a column is missing, or `k` is out of range.
        """
        found = self.link(dataset, k, batch_size=batch_size, num_workers=num_workers, progress=progress)
        columns: dict[str, list] = {
            "linked_id": [links[0].id if links and not links.is_nil else "" for links in found],
            "linked_confidence": [links[0].confidence if links else None for links in found],
            "linked_nil": [links.nil for links in found],
            "candidate_ids": [[entity.id for entity in links] for links in found],
            "candidate_scores": [[entity.score for entity in links] for links in found],
            "candidate_confidences": [[entity.confidence for entity in links] for links in found],
        }
        return datasets.concatenate_datasets([dataset, datasets.Dataset.from_dict(columns)], axis=1)

    def rank(self, mentions: Sequence[dict], progress: bool = False, **encoding: Any) -> Iterator[Ranking]:
        """Candidates of mentions, ranked, a chunk at a time; see [`DIMLinker.link`]."""
        queries = self.encode(mentions, progress=progress, **encoding)
        texts = mentions_of(mentions)
        for start in tqdm(range(0, len(texts), _CHUNK), desc="ranking", disable=not progress):
            yield self.rank_vectors(queries[start : start + _CHUNK], texts[start : start + _CHUNK])

    def encode(self, mentions: Sequence[dict], **encoding: Any) -> Tensor:
        """Mention vectors `(M, D)`; of a mention with several pictures, their mean."""
        rows, owners = one_picture_each(mentions)
        with self._autocast():
            vectors = encode_mentions(self.model, self.processor, rows, **encoding)
        if owners is None:
            return vectors
        of = torch.tensor(owners)
        sums = vectors.new_zeros(len(mentions), vectors.shape[1]).index_add_(0, of, vectors)
        mean = sums / of.bincount()[:, None]
        return F.normalize(mean, dim=-1) if self.model.config.normalize else mean

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def rank_vectors(self, queries: Tensor, mentions: Sequence[Mention]) -> Ranking:
        """Candidates of encoded mentions, ranked.

        Args:
            queries: Mention vectors `(M, D)`.
            mentions: The mentions.

        Returns:
            The ranking of 64 candidates each, or of as many as the reranker reads.
        """
        found = self.search.search(mentions, queries, CANDIDATES)
        ranking = self.score(queries, mentions, found.rows, found.channels)
        if self.reranker is None:
            return ranking
        with self._autocast():
            return self.reranker.rerank(ranking, mentions, self.kb)

    def score(self, queries: Tensor, mentions: Sequence[Mention], rows: np.ndarray, channels: np.ndarray) -> Ranking:
        """Given candidates of encoded mentions, ranked by the model alone.

        Args:
            queries: Mention vectors `(M, D)`.
            mentions: The mentions.
            rows: Row indices of their candidates, -1 for none `(M, C)`.
            channels: Which retrieval channels found them, as `Candidates.channels` `(M, C)`.

        Returns:
            The ranking of those candidates.
        """
        unique = np.unique(rows[rows >= 0])
        places = np.where(rows >= 0, np.searchsorted(unique, rows), -1)
        lexical, vectors = None, torch.zeros(1, queries.shape[1])
        if len(unique):
            entities = self.kb.take(unique, [*_TEXTS, "vector", "encoded_hash", "content_hash"])
            vectors = self._vectors(unique, entities)
            if self.model.config.num_lexical_features:
                lexical = lexical_features(entities)
        return rank_candidates(self.model, queries, vectors, lexical, mentions, torch.from_numpy(places),
                               torch.from_numpy(rows), torch.from_numpy(channels))  # fmt: skip

    def _vectors(self, numbers: np.ndarray, entities: pa.Table) -> Tensor:
        """Vectors of entities `(E, D)`; those that are not encoded as they are now are encoded here."""
        done = up_to_date(entities).to_numpy()
        vectors = torch.empty(len(entities), self.kb.width)
        if done.any():
            vectors[torch.from_numpy(done)] = vectors_of(entities.filter(done))
        if not done.all():
            late = self.kb.take(numbers[~done], ["name", "description", "images"]).to_pylist()
            vectors[torch.from_numpy(~done)] = encode_entities(self.model, self.processor, late)
        return vectors

    def _links(self, ranking: Ranking, k: int) -> list[Links]:
        if self.calibration is not None:
            confidences, nil = self.calibration(ranking)
        else:
            confidences = ranking.scores.double().softmax(1) if ranking.rows.shape[1] else ranking.scores.double()
        best, there = ranking.rows[:, :k], ranking.rows[:, :k] >= 0
        rows = self.kb.take(best[there].tolist(), ["id", *_TEXTS]).to_pylist()
        scores, sure = ranking.scores[:, :k][there].tolist(), confidences[:, :k][there].tolist()
        entities = iter([LinkedEntity(row["id"], row["name"], row["description"] or "", score, confidence)
                         for row, score, confidence in zip(rows, scores, sure, strict=True)])  # fmt: skip
        found = []
        for place, count in enumerate(there.sum(1).tolist()):
            links = Links([next(entities) for _ in range(count)])
            links.is_nil = not links
            if self.calibration is not None:
                links.nil = nil[place].item()
                links.is_nil = not links or links[0].confidence < self.calibration.threshold
            found.append(links)
        return found


__all__ = ["CANDIDATES", "DIMLinker"]
