"""How often the host waits for the device in a training step and in encoding, and where."""

import traceback
import warnings
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dim
from _gpu.made import picture_run
from _gpu.processes import Found

PACKAGE = Path(dim.__file__).resolve().parent


def _place() -> str:
    """The innermost line of the package that is running now; empty inside an optimizer, which keeps its own counts."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if "optim" in path.parts:
            return ""
        if path.is_relative_to(PACKAGE):
            return f"{path.relative_to(PACKAGE.parent)}:{frame.lineno}  {frame.line}"
    return "outside the package"


class _Operations(TorchDispatchMode):
    """Counts operations on the CPU whose result's value or shape a GPU would have to report to the host."""

    def __init__(self, places: Counter):
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = function.name()
        masks = [each for each in (args[1] if "index" in name and len(args) > 1 and isinstance(args[1], (list, tuple))
                                   else []) if isinstance(each, torch.Tensor) and each.dtype == torch.bool]  # fmt: skip
        if masks or name.startswith(("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select",
                                     "aten::unique", "aten::_unique", "aten::equal")):  # fmt: skip
            self.places.update(filter(None, [_place()]))
        return function(*args, **(kwargs or {}))


class Synchronisations:
    """Counts them by line of the package while it is entered.

    On a GPU, torch reports them (`torch.cuda.set_sync_debug_mode`). On a CPU, the operations are counted that would
    wait for a GPU, copies not included.
    """

    def __init__(self) -> None:
        self.places: Counter = Counter()

    def __enter__(self) -> "Synchronisations":
        if not torch.cuda.is_available():
            self._mode = _Operations(self.places)
            self._mode.__enter__()
            return self
        torch.cuda.synchronize()
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._warned
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not torch.cuda.is_available():
            self._mode.__exit__(kind, error, where)
            return
        torch.cuda.set_sync_debug_mode("default")
        self._caught.__exit__(kind, error, where)

    def _warned(self, message: object, *rest: object, **more: object) -> None:
        if "called a synchronizing" in str(message):
            self.places[_place()] += 1

    @property
    def total(self) -> int:
        """How many there were."""
        return self.places.total()


def measure(tiny: bool, work: Path) -> Found:
    """Counts them in one step of a run, in a step with gradient caching, and in encoding, per batch."""
    from dim.encoding.encode import encode_mentions

    run = picture_run(work, tiny, batch_size=8 if tiny else 64)
    batches = list(run.epoch(0, 0))
    for batch in batches[:2]:
        run.step(batch)
    with Synchronisations() as step:
        run.step(batches[0])
    run.arguments.mini_batch_size = 4 if tiny else 16
    run.step(batches[1])
    with Synchronisations() as cached:
        run.step(batches[1])
    words = ["number", "7", "and", "some", "words", "that", "tell", "about", "it"]
    rows = [{"mention": "number 7", "sentence": " ".join(words[: 2 + row % 8]), "start": 0, "end": 8, "id": str(row),
             "image": {"bytes": _jpeg(), "path": None}} for row in range(64)]  # fmt: skip
    encode_mentions(run.model, run.processor, rows, batch_size=16)
    with Synchronisations() as encoding:
        encode_mentions(run.model, run.processor, rows, batch_size=16)
    figures = {"step": step, "step with gradient caching": cached, "encoding 4 batches": encoding}
    counts = {what: found.total for what, found in figures.items()}
    places = {what: dict(found.places.most_common()) for what, found in figures.items()}
    met = step.total <= 1 and encoding.total <= 1 if torch.cuda.is_available() else None
    summary = ", ".join(f"{what} {count}" for what, count in counts.items())
    summary += f" (step: {_top(step)}; encoding: {_top(encoding)})"
    return Found(summary, met, {"counts": counts, "places": places})


def _top(found: Synchronisations) -> str:
    return ", ".join(f"{count}x {place.split('  ')[0]}" for place, count in found.places.most_common(4))


def _jpeg() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (48, 32), "teal").save(out, "JPEG")
    return out.getvalue()
