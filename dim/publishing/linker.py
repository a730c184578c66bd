"""A linker's repository: a model's, and with it the entities, their vectors, and which model encoded them."""

import json
from collections.abc import Sequence
from pathlib import Path

from dim.common.files import sha256_of
from dim.encoding.loading import fingerprint, load_dim
from dim.errors import DIMError
from dim.kb.store import KnowledgeBase
from dim.linking.bundle import ENTITIES, MANIFEST
from dim.publishing.files import CARD, Publication, RepoFile, read_front
from dim.publishing.leaks import check_files
from dim.publishing.licences import check_licence
from dim.publishing.model import REPLACES, model_card, model_files

_USE = """
## Link

The repository also holds a knowledge base of {count:,} entities (`{entities}`, licence {licence}), encoded by this very
model:

```python
from dim.linking.linker import DIMLinker

linker = DIMLinker.from_pretrained("{target}")
linker("[[Turkey]] was everywhere that autumn.", k=5)
```
"""


def linker_publication(
    folder: Path, kb: str, licence: str, target: str, scratch: Path, results: Sequence[Path] = ()
) -> Publication:
    """What is pushed for a linker.

    Args:
        folder: The model, as for [`dim.publishing.model.model_publication`].
        kb: URI of a knowledge base, all of it encoded by that model.
        licence: Under which the entities may be passed on; a knowledge base does not know where they are from.
        target: Name of the repository, `owner/name`.
        scratch: A folder for the entities' file, until it is uploaded.
        results: As for [`dim.publishing.model.model_publication`].

    Returns:
        The publication, checked.

    Raises:
        DIMError: As for a model, or if the knowledge base is empty, is not encoded by the model, or its licence does
            not allow publishing.

    Example:

        >>> model, scratch = Path("demo/model"), Path(".")
        >>> publication = linker_publication(model, "demo/kb", "cc-by-4.0", "my-group/linker", scratch)
        >>> [file.path for file in publication.files][-3:]
        ['kb/entities.parquet', 'linker.json', 'README.md']
    """
    check_licence("--kb-licence", licence)
    files, notes = model_files(folder)
    front, body = read_front(folder)
    base = KnowledgeBase.open(kb)
    model, processor = load_dim(folder)
    encoder, encoders = fingerprint(model, processor), base.encoders()
    if not len(base):
        raise DIMError(f"{kb} is empty.")
    if set(encoders) != {encoder}:
        raise DIMError(f"{kb} is not encoded, as a whole, by {folder}: dim kb encode {kb} --model {folder}")
    entities = scratch / Path(ENTITIES).name
    base.export(entities)
    names = sorted([ENTITIES, *(file.path for file in files if not file.path.endswith(".py"))])
    manifest = {"format": 1, "encoder": encoder, "entities": len(base), "sha256": sha256_of(entities), "files": names}
    use = _USE.format(count=len(base), entities=ENTITIES, licence=licence, target=target)
    card, more = model_card(front, f"{body.rstrip()}\n{use}", target, folder, results)
    files = (
        *files,
        RepoFile(ENTITIES, entities),
        RepoFile(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode()),
        RepoFile(CARD, card.encode()),
    )
    check_files(files)
    return Publication("model", target, files, REPLACES, notes=(*notes, *more))


__all__ = ["linker_publication"]
