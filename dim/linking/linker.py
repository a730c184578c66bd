"""The linker: ranks the entities of a knowledge base for a mention with its sentence and picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dim.common.regions import Region
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
from dim.linking.mention import load_pictures, mention_row, one_picture_each, parse_brackets
from dim.linking.ranking import Ranking, rank_candidates
from dim.linking.reranker import FOLDER, Reranker
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.search.vectors import vectors_of

CANDIDATES = 64
_CHUNK = 8192  # mentions ranked at a time
_TEXTS = ("name", "aliases", "description")
_VECTORS = ("vector", "encoded_hash", "content_hash")


class DIMLinker:
    """Links mentions to the entities of a knowledge base: retrieval channels find candidates, the model ranks them.

    The knowledge base may change while the linker is in use; the next query sees the change. An entity that is not
    encoded yet is found by name search and BM25, and encoded when it is a candidate.

    Args:
        model: A DIM.
        processor: Its processor.
        kb: The knowledge base, encoded by this model.
        calibration: Turns scores into probabilities and detects NIL.
        dtype: Type of the arithmetic of encoder and reranker (autocast); vectors and scores are float32 in any case.
        reranker: Reranks the best candidates; `None` keeps the model's ranking.

    Raises:
        DIMError: If another model encoded the knowledge base, or nothing is encoded.

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
        self.search, self.reranker, self.dtype = CandidateSearch(kb, device=model.device), reranker, dtype

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
            model: Folder or Hub name of a DIM; a `calibration.json` next to the weights in a folder is used.
            kb: URI of a knowledge base; by default, the one in the model's repository (`dim push linker`).
            device: `cpu`, `cuda` ...; by default, the GPU if there is one.
            dtype: As above.
            rerank: Number of best candidates for the model's reranker (`dim train-reranker`; in the folder `reranker`,
                with a calibration of its own); the others are dropped. 0, the default, for no reranking.
            revision: Branch, tag or commit of a repository with a knowledge base.

        Returns:
            The linker.

        Raises:
            DIMError: If there is no such model or knowledge base, or they do not belong together.
        """
        folder, base = open_bundle(model, revision) if kb is None else (Path(model), KnowledgeBase.open(kb))
        network, processor = load_dim(model if kb is not None else folder)
        network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        last = folder / FOLDER if rerank else folder  # the calibration belongs to the last stage
        reranker = Reranker.from_pretrained(last, rerank, network.device) if rerank else None
        path = last / FILE
        calibration = Calibration.load(path) if path.is_file() else None
        return cls(network, processor, base, calibration, dtype, reranker)

    def __call__(
        self,
        text: str = "",
        mention: str | None = None,
        image: object = None,
        k: int = 5,
        *,
        span: tuple[int, int] | None = None,
        region: Region | None = None,
        expert_answer: str | None = None,
        why: bool = False,
    ) -> Links:
        """Ranks the entities for one mention.

        Args:
            text: The sentence, with the mention in double brackets if neither `mention` nor `span` is given. It may be
                empty: the mention is then read on its own, and without a mention the picture is linked alone.
            mention: The mention; it need not be in the sentence.
            image: The picture of the sentence: a path, bytes or a PIL image. The mention's vectors are averaged over
                several pictures in a list; without a picture, the model uses the text alone.
            k: Number of entities, at most 64.
            span: Character offsets of the mention in the sentence.
            region: The part of the picture that is the mention: left, top, right and bottom in pixels of the picture as
                it is shown (EXIF orientation applied).
            expert_answer: A caption of the picture from an expert.
            why: Whether to explain each score; the mention is then encoded up to three times.

        Returns:
            The `k` best candidates, best first; fewer if the knowledge base has fewer entities.

        Raises:
            DIMError: If the mention is not clear (see `mention_row`), the region does not lie in the picture, the model
                reads no pictures and there is nothing else, or `k` is out of range.
            PictureError: If the picture cannot be read.
        """
        row = mention_row(text, mention, span, load_pictures(image), expert_answer, region)
        [links] = self.link([row], k)
        return explain(self, row, links) if why else links

    def link_sentence(self, text: str, image: object = None, k: int = 5) -> list[Links]:
        """Links every mention that a sentence marks by double brackets; see [`DIMLinker.__call__`]."""
        plain, spans = parse_brackets(text)
        picture = load_pictures(image)
        return self.link([mention_row(plain, None, span, picture, None) for span in spans], k)

    def link(self, mentions: Sequence[dict], k: int = 5, **encoding: Any) -> list[Links]:
        """Ranks the entities for many mentions. Pictures that cannot be read are left out, with a warning in the log.

        Args:
            mentions: Rows for `encode_mentions`.
            k: Number of entities per mention, at most 64.
            **encoding: `batch_size`, `num_workers`, `progress` of `encode_mentions`.

        Returns:
            The `k` best candidates of each mention.

        Raises:
            DIMError: If a row is invalid, or `k` is out of range.
        """
        if not 1 <= k <= CANDIDATES:
            raise DIMError(f"k must lie between 1 and {CANDIDATES}, got {k}.")
        return [links for part in self.rank(mentions, **encoding) for links in self._links(part, k)]

    def link_batch(self, dataset: datasets.Dataset, k: int = 5, batch_size: int = 64, num_workers: int | None = None,
                   progress: bool = True) -> datasets.Dataset:  # fmt: skip
        """Links the mentions of a dataset.

        Args:
            dataset: Columns `mention`, `sentence`, `start`, `end` and optionally `image`, `region` and `expert_answer`.
            k: Number of entities per mention, at most 64.
            batch_size: Mentions per batch.
            num_workers: Processes that decode pictures and tokenise; see `encode_mentions`.
            progress: Whether to show progress bars.

        Returns:
            The dataset with the columns `linked_id` (empty for NIL), `linked_confidence`, `linked_nil` and, for the `k`
            best candidates, `candidate_ids`, `candidate_scores` and `candidate_confidences`.

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
        """Ranks the candidates of mentions, and yields them in chunks; see [`DIMLinker.link`]."""
        texts = mentions_of(mentions)  # checks the rows before the long work
        queries = self.encode(mentions, progress=progress, **encoding)
        for start in tqdm(range(0, len(texts), _CHUNK), desc="ranking", disable=not progress):
            yield self.rank_vectors(queries[start : start + _CHUNK], texts[start : start + _CHUNK])

    def encode(self, mentions: Sequence[dict], **encoding: Any) -> Tensor:
        """Encodes mentions as vectors `(M, D)`, averaged over the pictures of a mention."""
        rows, owners = one_picture_each(mentions)
        with self._autocast():
            vectors = encode_mentions(self.model, self.processor, rows, **encoding)
        if owners is None:
            return vectors
        of = torch.tensor(owners)
        sums = vectors.new_zeros(len(mentions), vectors.shape[1]).index_add_(0, of, vectors)
        mean = sums / of.bincount()[:, None]
        return self.model.normalize_vectors(mean)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def rank_vectors(self, queries: Tensor, mentions: Sequence[Mention]) -> Ranking:
        """Finds and ranks the candidates of encoded mentions.

        Args:
            queries: Mention vectors `(M, D)`.
            mentions: The mentions.

        Returns:
            The ranking of 64 candidates per mention, or of as many as the reranker reads.
        """
        found = self.search.search(mentions, queries, CANDIDATES)
        ranking = self.score(queries, mentions, found.rows, found.channels)
        if self.reranker is None:
            return ranking
        with self._autocast():
            return self.reranker.rerank(ranking, mentions, self.kb)

    def score(self, queries: Tensor, mentions: Sequence[Mention], rows: np.ndarray, channels: np.ndarray) -> Ranking:
        """Ranks given candidates of encoded mentions by the model alone.

        Args:
            queries: Mention vectors `(M, D)`.
            mentions: The mentions.
            rows: Row indices of their candidates, -1 for none `(M, C)`.
            channels: Their retrieval channels, as in `Candidates.channels` `(M, C)`.

        Returns:
            The ranking of those candidates.
        """
        unique = np.unique(rows[rows >= 0])
        indices = np.where(rows >= 0, np.searchsorted(unique, rows), -1)
        lexical, vectors = None, torch.zeros(1, queries.shape[1])
        if len(unique):
            held = self.search.vectors(unique)
            entities = self.kb.take(unique, [*_TEXTS, *(_VECTORS if held is None else ())])
            vectors = self._vectors(unique, entities) if held is None else held
            if self.model.config.num_lexical_features:
                lexical = lexical_features(entities)
        return rank_candidates(self.model, queries, vectors, lexical, mentions, torch.from_numpy(indices),
                               torch.from_numpy(rows), torch.from_numpy(channels))  # fmt: skip

    def _vectors(self, rows: np.ndarray, entities: pa.Table) -> Tensor:
        """Returns the vectors of entities `(E, D)`, and encodes those without an up-to-date vector."""
        done = up_to_date(entities).to_numpy()
        vectors = torch.empty(len(entities), self.kb.width)
        if done.any():
            vectors[torch.from_numpy(done)] = vectors_of(entities.filter(done))
        if not done.all():
            late = self.kb.take(rows[~done], ["name", "description", "images"]).to_pylist()
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
        for index, count in enumerate(there.sum(1).tolist()):
            links = Links([next(entities) for _ in range(count)])
            links.is_nil = not links
            if self.calibration is not None:
                links.nil = nil[index].item()
                links.is_nil = not links or links[0].confidence < self.calibration.threshold
            found.append(links)
        return found
