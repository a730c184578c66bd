"""Checkpoints, which are complete or absent, and the published model folder."""

from collections.abc import Callable
from pathlib import Path

from dim.common.checksums import CHECKSUMS, verify_checksums, write_checksums
from dim.common.files import atomic_file, finish_folder, remove_folder, scratch_folder, write_json
from dim.errors import DIMError

MANIFEST = "trainer_state.json"  # written last: a checkpoint without it is incomplete


def write_checkpoint(output_dir: Path, step: int, save: Callable[[Path], None], state: dict, keep: int) -> Path:
    """Writes `output_dir/checkpoint-STEP` under a temporary name, renames it, and deletes the oldest checkpoints.

    Its manifest is written last, but for the checksums of all files.

    Args:
        output_dir: Folder of the run.
        step: Number of steps done.
        save: Writes the weights and the optimizer's state into the folder it is given.
        state: What else the run needs to resume; JSON.
        keep: How many checkpoints to keep.

    Returns:
        The checkpoint's folder.

    Example:

        >>> run = Path("run_a")
        >>> for step in (10, 20, 30):
        ...     path = write_checkpoint(run, step, lambda folder: None, {"step": step}, keep=2)
        >>> path.name, [path.name for path in checkpoints(run)]
        ('checkpoint-30', ['checkpoint-20', 'checkpoint-30'])
    """
    final, temporary = output_dir / f"checkpoint-{step}", output_dir / f".checkpoint-{step}"
    with scratch_folder(temporary, final):
        save(temporary)
        write_json(temporary / MANIFEST, state)
        write_checksums(temporary)
        finish_folder(temporary, final)
    for old in checkpoints(output_dir)[:-keep]:
        remove_folder(old)
    return final


def checkpoints(output_dir: Path) -> list[Path]:
    """Lists the complete checkpoints of a run, oldest first.

    Example:

        >>> path = write_checkpoint(Path("run_b"), 10, lambda folder: None, {"step": 10}, keep=2)
        >>> (Path("run_b") / "checkpoint-20").mkdir()  # incomplete: it has no manifest
        >>> [path.name for path in checkpoints(Path("run_b"))]
        ['checkpoint-10']
    """
    steps = (path for path in output_dir.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal())
    found = [path for path in steps if (path / MANIFEST).is_file()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def chosen_checkpoint(output_dir: Path, name: str | None) -> Path | None:
    """Finds the checkpoint to resume from as [`find_checkpoint`] does, but does not read its files."""
    if name is None:
        return None
    found = checkpoints(output_dir) if name == "auto" else [Path(name)]
    if not found:
        return None
    if not (found[-1] / MANIFEST).is_file():
        raise DIMError(f"{name} is not a complete checkpoint: it has no {MANIFEST}.")
    return found[-1]


def find_checkpoint(output_dir: Path, name: str | None) -> Path | None:
    """Finds the checkpoint to resume from, and verifies its files.

    Args:
        output_dir: Folder of the run.
        name: `None` for a new run, `"auto"` for the newest complete checkpoint if there is one, or a folder.

    Returns:
        Its folder, or `None` to start from the beginning.

    Raises:
        DIMError: If `name` is a folder without a complete checkpoint, or a file of the checkpoint is damaged.

    Example:

        >>> path = write_checkpoint(Path("run_c"), 10, lambda folder: None, {"step": 10}, keep=2)
        >>> find_checkpoint(Path("run_c"), "auto").name, find_checkpoint(Path("run_c"), None)
        ('checkpoint-10', None)
    """
    found = chosen_checkpoint(output_dir, name)
    if found is None:
        return None
    try:
        verify_checksums(found)
    except DIMError as error:
        place = str(error).partition(" (")[0]
        raise DIMError(
            f"{place}: the checkpoint cannot be resumed. Delete {found} to resume from an earlier one, if there is "
            "one, or start anew."
        ) from error
    return found


def publish(output_dir: Path, save: Callable[[Path], None]) -> None:
    """Replaces the model in `output_dir`, each file at once.

    Args:
        output_dir: Folder of the run.
        save: Writes the model, its processor and its card into the folder it is given.
    """
    temporary = output_dir / ".model"
    with scratch_folder(temporary, output_dir):
        save(temporary)
        write_checksums(temporary)
    last = ("config.json", CHECKSUMS)  # a mixture of two models does not have the checksums of either
    for path in sorted(temporary.iterdir(), key=lambda path: (path.name in last, path.name == CHECKSUMS)):
        with atomic_file(output_dir / path.name) as part:
            path.replace(part)
    temporary.rmdir()
