"""The linker as a component of spaCy: `nlp.add_pipe("dim_linker", config={"model": ..., "kb": ...})`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from spacy.language import Language
from spacy.pipeline import EntityLinker
from spacy.tokens import Doc, Span
from spacy.util import minibatch

from dim.linking.linker import DIMLinker
from dim.linking.mention import load_pictures, mention_row

for _owner, _name in ((Doc, "image"), (Span, "links")):
    if not _owner.has_extension(_name):
        _owner.set_extension(_name, default=None)


class SpacyLinker:
    """Links the entities that earlier components have found (`doc.ents`).

    It sets `ent.kb_id_` to the id of the best entity of the knowledge base, or to `"NIL"` as spaCy's own `EntityLinker`
    does, and `ent._.links` to `Links.to_dict()`: the candidates with scores and probabilities. The context is the
    sentence of the entity if sentences are set, else the whole text; `doc._.image` is its picture.

    Args:
        linker: The linker.
        k: Number of candidates in `ent._.links`, at most 64.

    Example:

        >>> import spacy
        >>> nlp = spacy.blank("en")
        >>> nlp.add_pipe("entity_ruler").add_patterns([{"label": "NAME", "pattern": "Turkey"}])
        >>> _ = nlp.add_pipe("dim_linker", config={"model": "demo/model", "kb": "demo/kb", "k": 2})
        >>> [ent] = nlp("We saw Turkey.").ents
        >>> ent.kb_id_ == ent._.links["entities"][0]["id"]
        True
        >>> sorted(entity["id"] for entity in ent._.links["entities"])
        ['e1251', 'e1415']
    """

    def __init__(self, linker: DIMLinker, k: int = 5):
        self.linker, self.k = linker, k

    def __call__(self, doc: Doc) -> Doc:
        """Links the entities of a document, which it changes and returns."""
        self._link([doc])
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Links the entities of documents, those of a batch in one call of the linker; `nlp.pipe` calls this.

        Args:
            stream: The documents.
            batch_size: Documents per batch.

        Yields:
            The documents, in order.

        Raises:
            PictureError: If the picture of a document cannot be read.
        """
        for docs in minibatch(stream, size=batch_size):
            self._link(docs)
            yield from docs

    def _link(self, docs: Sequence[Doc]) -> None:
        ents = [ent for doc in docs for ent in doc.ents]
        rows = [row for doc in docs for row in _rows(doc)]
        for ent, links in zip(ents, self.linker.link(rows, self.k) if rows else [], strict=True):
            ent._.links = links.to_dict()
            for token in ent:
                token.ent_kb_id_ = EntityLinker.NIL if links.is_nil else links[0].id


def _rows(doc: Doc) -> list[dict[str, Any]]:
    """Makes the linker's row of each entity of a document."""
    image = load_pictures(doc._.image) if doc.ents else None
    rows = []
    for ent in doc.ents:
        context = doc[:]
        if doc.has_annotation("SENT_START"):
            context = doc[ent.sent.start : max(ent.sent.end, ent.end)]  # an entity may go on behind its sentence
        span = (ent.start_char - context.start_char, ent.end_char - context.start_char)
        rows.append(mention_row(context.text, None, span, image, None))
    return rows


@Language.factory(
    "dim_linker",
    default_config={"kb": None, "k": 5, "device": None, "rerank": 0},
    requires=["doc.ents"],
    assigns=["token.ent_kb_id", "span._.links"],
)
def make_spacy_linker(
    nlp: Language, name: str, model: str, kb: str | None, k: int, device: str | None, rerank: int
) -> SpacyLinker:
    """Makes the component from its configuration, which `nlp.to_disk` keeps; the model and the knowledge base stay
    where they are.

    Args:
        nlp: The pipeline.
        name: Name of the component in it.
        model: Folder or Hub name of a DIM.
        kb: A knowledge base; by default, the one in the model's repository.
        k: Number of candidates in `ent._.links`, at most 64.
        device: `cpu`, `cuda` ...; by default, the GPU if there is one.
        rerank: Number of best candidates for the model's reranker; 0 for none.

    Returns:
        The component.

    Raises:
        DIMError: If there is no such model or knowledge base, or they do not belong together.
    """
    return SpacyLinker(DIMLinker.from_pretrained(model, kb, device, rerank=rerank), k)
