"""Publication of a linker: the files of a model, and the entities with their vectors."""

from collections.abc import Sequence
from pathlib import Path

from dim.common.files import sha256_of, write_json
from dim.encoding.loading import fingerprint, load_dim
from dim.errors import DIMError
from dim.kb.store import KnowledgeBase
from dim.linking.bundle import ENTITIES, MANIFEST
from dim.publishing.files import Publication, RepoFile, read_card_of, restriction
from dim.publishing.leaks import check_files
from dim.publishing.licences import licence_problem
from dim.publishing.model import REPLACES, card_and_results, model_files

_USE = """
## Link

The repository includes a knowledge base of {count:,} entities (`{entities}`, licence {licence}), encoded by this model:

```python
from dim import DIMLinker

linker = DIMLinker.from_pretrained("{target}")
linker("[[Turkey]] was everywhere that autumn.", k=5)
```
"""


def linker_publication(
    folder: Path,
    kb: str,
    kb_licence: str,
    target: str,
    scratch: Path,
    results: Sequence[Path] = (),
    licence: str | None = None,
    private: bool = False,
    dataset: str | None = None,
) -> Publication:
    """Collects and checks the files of a linker.

    Args:
        folder: The model, as for [`dim.publishing.model.model_publication`].
        kb: URI of a knowledge base that the model encoded completely.
        kb_licence: Licence of the entities, which a knowledge base does not record.
        target: Name of the repository, `owner/name`.
        scratch: Folder for temporary files until the upload is done.
        results: As for [`dim.publishing.model.model_publication`].
        licence: As for [`dim.publishing.model.model_publication`].
        private: Whether the repository is private; it may then hold entities that must not be published.
        dataset: As for [`dim.publishing.model.model_publication`].

    Returns:
        The publication.

    Raises:
        DIMError: As for a model; also if the knowledge base is empty or not encoded by the model, or its licence does
            not allow publishing and the repository is not private.

    Example:

        >>> model, target, scratch = Path("demo/model"), "my-group/linker", Path(".")
        >>> publication = linker_publication(model, "demo/kb", "cc-by-4.0", target, scratch, licence="apache-2.0")
        >>> [file.path for file in publication.files][-3:]
        ['kb/entities.parquet', 'linker.json', 'README.md']
    """
    problem = licence_problem("--kb-licence", kb_licence)
    restricted = (problem,) if problem else ()
    Publication("model", target, (), restricted=restricted).check_private(private)
    files, notes = model_files(folder)
    metadata, text = read_card_of(folder)
    base = KnowledgeBase.open(kb)
    if not len(base):
        raise DIMError(f"{kb} is empty.")
    encoder = fingerprint(*load_dim(folder))
    base.check_encoder(encoder)
    entities, manifest = scratch / Path(ENTITIES).name, scratch / MANIFEST
    base.export(entities)
    names = sorted([ENTITIES, *(file.path for file in files if not file.path.endswith(".py"))])
    write_json(manifest, {"format": 1, "encoder": encoder, "entities": len(base), "sha256": sha256_of(entities),
                          "files": names})  # fmt: skip
    use = _USE.format(count=len(base), entities=ENTITIES, licence=kb_licence, target=target)
    text = f"{text.rstrip()}\n{use}"
    added, more = card_and_results(metadata, text, target, folder, results, licence, dataset)
    files = (
        *files,
        RepoFile(ENTITIES, entities),
        RepoFile(MANIFEST, manifest),
        *added,
    )
    check_files(files)
    notes = (*notes, *more, *restriction(restricted))
    return Publication("model", target, files, REPLACES, notes=notes, restricted=restricted)
