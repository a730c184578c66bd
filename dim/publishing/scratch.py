"""The temporary folder of a push, in Hugging Face's cache."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from huggingface_hub import cached_assets_path

from dim.common.locks import locked
from dim.errors import DIMError

_COMMAND = "dim push"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yields a folder that is removed at the end. Folders that killed pushes left are removed, too.

    Yields:
        An empty folder that only this user can read.

    Example:

        >>> with scratch_folder() as folder:
        ...     _ = (folder / "card.md").write_text("a card")
        >>> folder.exists()
        False
    """
    home = cached_assets_path("dim", "publishing", "scratch")
    for left in home.glob("push-*"):
        with suppress(DIMError), locked(left, _COMMAND):  # refused while that push runs
            shutil.rmtree(left)
    folder = home / f"push-{uuid4().hex}"
    with locked(folder, _COMMAND):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
