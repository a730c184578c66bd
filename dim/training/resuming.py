"""Where a run begins: anew or at a checkpoint. It never mixes two runs, and never replaces one unasked."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dim.common.files import remove_folder, write_json
from dim.common.outputs import check_folder
from dim.errors import DIMError
from dim.training.checkpoints import MANIFEST, checkpoints, find_checkpoint
from dim.training.identity import differences
from dim.training.safe_state import reading

_MARK = Path("cache", "run.json")  # whose run writes into a folder, also before its first checkpoint
_MODEL = ("config.json", "model.safetensors")


@dataclass
class Beginning:
    """Decides where a run begins.

    Args:
        output_dir: Folder of the run.
        resume: `None`, `"auto"` or the folder of a checkpoint.
        overwrite: Whether an earlier run in the folder may be replaced.
        settings: What [`dim.training.identity.settings_of`] returns.

    Raises:
        DIMError: If the folder holds an earlier run that this one would replace or mix with.
    """

    output_dir: Path
    resume: str | None
    overwrite: bool
    settings: dict[str, Any]
    checkpoint: Path | None = field(init=False)
    content: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_folder(self.output_dir)
        self.checkpoint = find_checkpoint(self.output_dir, self.resume)
        if self.checkpoint is not None:
            self._compare("settings", self.settings)
        self._check_unoccupied()

    def check_content(self, content: dict[str, str]) -> None:
        """Compares what the run is trained on with that of its checkpoint.

        Args:
            content: What [`dim.training.identity.content_of`] returns.

        Raises:
            DIMError: If they differ.
        """
        self.content = content
        if self.checkpoint is not None:
            self._compare("content", content)
        elif not self.overwrite and self._occupied() and self._marked().get("content") != content:
            raise self._replaces("the run of other data or another model")

    @property
    def run(self) -> dict[str, Any]:
        """What a checkpoint says of its run."""
        return {"settings": self.settings, "content": self.content}

    def clear(self) -> None:
        """Deletes the checkpoints that the run does not continue, and marks the folder as its own."""
        for path in checkpoints(self.output_dir) if self.checkpoint is None else ():
            remove_folder(path)
        path = self.output_dir / _MARK
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.run)

    def _compare(self, kind: str, now: dict[str, Any]) -> None:
        folder = Path(str(self.checkpoint))
        with reading(folder):
            run = json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("run", {})
            found = differences(run.get(kind, {}), now)
        if found and self.overwrite and self.resume == "auto":
            self.checkpoint = None
        elif found:
            raise DIMError(
                f"{self.checkpoint} belongs to another run: {found}. Give another --output_dir, or start anew with "
                "--overwrite true --resume_from_checkpoint auto."
            )

    def _check_unoccupied(self) -> None:
        if self.overwrite or not self._occupied():
            return
        there = checkpoints(self.output_dir)
        if self.checkpoint is None and not there and self.resume == "auto":
            if self._marked().get("settings") == self.settings:
                return  # this run, killed before its first checkpoint; its content is compared later
            raise self._replaces("a model")
        if self.checkpoint is None:
            raise self._replaces("an earlier run")
        if there and there[-1].resolve() != self.checkpoint.resolve():
            raise self._replaces(there[-1].name)
        if not there:
            raise self._replaces("a model")

    def _occupied(self) -> bool:
        return bool(checkpoints(self.output_dir)) or any((self.output_dir / name).exists() for name in _MODEL)

    def _marked(self) -> dict[str, Any]:
        path = self.output_dir / _MARK
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _replaces(self, what: str) -> DIMError:
        return DIMError(
            f"{self.output_dir} holds {what}, which this run would replace: go on with an interrupted run by "
            "--resume_from_checkpoint auto, replace it by --overwrite true, or give another --output_dir."
        )
