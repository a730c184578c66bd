"""Bundles: a complete linker in one folder or Hub repository, with model, processor, entities and their vectors."""

import re
import shutil
from pathlib import Path

from huggingface_hub import cached_assets_path, hf_hub_download, snapshot_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.utils import WeakFileLock, httpx

from dim.common.files import finish_folder, sha256_of
from dim.common.hub import first_line, hub_errors
from dim.common.jsonl import parse_object
from dim.errors import DIMError
from dim.kb.store import KnowledgeBase

MANIFEST = "linker.json"
ENTITIES = "kb/entities.parquet"
_IGNORED = ["*.py", "*.md"]  # the classes of this package are used; code from a repository never runs


def open_bundle(name: str | Path, revision: str | None = None) -> tuple[Path, KnowledgeBase]:
    """Opens a bundle from `dim push linker`; one on the Hub is downloaded first, from a single commit.

    The entities are imported once into a knowledge base in the assets cache of Hugging Face, under the checksum of
    their file. It is opened at the imported version, which cannot be changed; to change entities, import
    `kb/entities.parquet` into a knowledge base of your own (`dim kb import`).

    Args:
        name: Folder or Hub name.
        revision: Branch, tag or commit of the repository on the Hub.

    Returns:
        The folder with model, processor and calibration, and the knowledge base.

    Raises:
        DIMError: If there is no such bundle, it cannot be downloaded, or its parts do not belong together.
    """
    folder = Path(name) if Path(name).is_dir() else _download(str(name), revision)
    path = folder / MANIFEST
    if not path.is_file():
        raise _no_linker(name)
    try:
        manifest = parse_object(path.read_bytes())
    except DIMError as error:
        raise DIMError(f"{path} is damaged: {error}. Write or download it again.") from error
    known = manifest.get("format") == 1 and manifest.keys() >= {"encoder", "entities", "files"}
    if not known or not re.fullmatch("[0-9a-f]{64}", str(manifest.get("sha256"))):
        raise DIMError(f"{path} has a format that this version of dim cannot read: pip install -U dim-mel.")
    missing = next((file for file in manifest["files"] if not (folder / file).is_file()), None)
    if missing is not None:
        raise DIMError(f"{name} is incomplete ({missing} is missing): run it again when the Hub can be reached.")
    kb = _import(folder / ENTITIES, manifest["sha256"])
    found = {encoder: count for encoder, count in kb.encoders().items() if count}
    if found != {manifest["encoder"]: manifest["entities"]}:
        raise DIMError(f"{name}: {ENTITIES} was not encoded by the model that {MANIFEST} names: push it again.")
    return folder, kb


def _download(name: str, revision: str | None) -> Path:
    """Downloads one commit of a repository into the Hub cache, and returns its folder; cached files are reused."""
    try:
        with hub_errors(name, "linker", MANIFEST, revision):
            try:
                manifest = Path(hf_hub_download(name, MANIFEST, revision=revision))
                return Path(snapshot_download(name, revision=manifest.parent.name, ignore_patterns=_IGNORED))
            except RemoteEntryNotFoundError as error:
                raise _no_linker(name) from error
    except (OSError, httpx.HTTPError, RuntimeError) as error:  # RuntimeError: download threads close a shared client
        raise DIMError(
            f"Cannot download the linker {name}: {first_line(error)} Run it again: complete files are kept."
        ) from error


def _no_linker(name: str | Path) -> DIMError:
    return DIMError(f"{name} is not a linker (it has no {MANIFEST}): also give a knowledge base (--kb).")


def _import(path: Path, checksum: str) -> KnowledgeBase:
    """Imports a bundle's entities into a knowledge base, once and by one process."""
    cache = cached_assets_path("dim", "linking", "knowledge_bases")
    home = cache / checksum
    with WeakFileLock(cache / f".{checksum}.lock"):
        if not home.is_dir():
            if sha256_of(path) != checksum:
                raise DIMError(
                    f"{path} is not the file that was pushed (its checksum differs): remove {path.resolve()} and run "
                    "it again."
                )
            building = cache / f".{checksum}"
            shutil.rmtree(building, ignore_errors=True)
            KnowledgeBase.create(building, path, progress=True)
            finish_folder(building, home)
    versions = KnowledgeBase.open(home).versions()
    return KnowledgeBase.open(home, versions[0]["version"])
