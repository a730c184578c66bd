"""The precision of a run: bfloat16 where the device computes it in hardware and is faster by it."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from dim.training.arguments import TrainArguments
from dim.training.checkpoints import MANIFEST, chosen_checkpoint
from dim.training.safe_state import reading

_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # of x86 and ARM, in Linux's words
_SHAPE = (1024, 384, 1536)  # of a product in the text tower: tokens, width, hidden width
_SECONDS = 0.025  # that each precision is measured for


@dataclass(frozen=True)
class Precision:
    """A choice of precision.

    Args:
        name: `"bf16"` or `"no"`.
        reason: Why, for the log.
    """

    name: str
    reason: str


def with_precision(arguments: TrainArguments) -> TrainArguments:
    """Chooses the precision of a run, the same one in every process, and prints why.

    Args:
        arguments: Arguments of the run. Its `mixed_precision` may be `auto`; a run that goes on then has the precision
            of its checkpoint.

    Returns:
        The arguments, with a precision in place of `auto`.

    Raises:
        DIMError: If there is no such checkpoint, or it is damaged.
    """
    asked = arguments.mixed_precision
    if asked not in ("auto", "bf16"):
        return arguments
    state = PartialState()
    chosen = _chosen(arguments, state.device) if asked == "auto" else Precision(asked, _warning(state.device))
    if chosen.reason:
        state.print(f"precision: {chosen.reason}")
    return replace(arguments, mixed_precision=chosen.name)


def _chosen(arguments: TrainArguments, device: torch.device) -> Precision:
    checkpoint = chosen_checkpoint(Path(str(arguments.output_dir)), arguments.resume_from_checkpoint)
    if checkpoint is not None:
        with reading(checkpoint):
            run = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["run"]
            return Precision(run["settings"]["mixed_precision"], f"as in {checkpoint.name}")
    [chosen] = broadcast_object_list([measured_precision(device)])  # the first process's stopwatch decides
    return chosen


def measured_precision(device: torch.device) -> Precision:
    """Measures whether bfloat16 is faster than float32 on a device, for 50 ms.

    Args:
        device: A CPU or GPU. Others compute in float32.

    Returns:
        The faster precision, and why.

    Example:

        >>> measured_precision(torch.device("meta"))
        Precision(name='no', reason='float32: bfloat16 was not tried on meta')
    """
    if device.type not in ("cpu", "cuda"):
        return Precision("no", f"float32: bfloat16 was not tried on {device.type}")
    if not has_bfloat16(device):
        return Precision("no", "float32: this device has no units for bfloat16")
    half, whole = (_products_a_second(device, dtype) for dtype in (torch.bfloat16, torch.float32))
    name, words = ("bf16", "bfloat16") if half > whole else ("no", "float32")
    return Precision(name, f"{words}: products in bfloat16 are {half / whole:.1f} times as fast as in float32")


def has_bfloat16(device: torch.device) -> bool:
    """Whether a CPU or GPU computes bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # not Linux
        return False
    return any(flag in words for flag in _FLAGS)


def _warning(device: torch.device) -> str:
    """What to tell a user who asks for bfloat16 where it is emulated; empty elsewhere."""
    if device.type != "cpu" or has_bfloat16(device):
        return ""
    half, whole = (_products_a_second(device, dtype) for dtype in (torch.bfloat16, torch.float32))
    return (
        f"bfloat16 is emulated on this CPU: products in it are {whole / half:.0f} times as slow as in float32; "
        "--mixed_precision auto chooses"
    )


def _products_a_second(device: torch.device, dtype: torch.dtype) -> float:
    """How many matrix products of the text tower's size a device computes in a second."""
    rows, inner, columns = _SHAPE
    left = torch.ones(rows, inner, dtype=dtype, device=device)
    right = torch.ones(inner, columns, dtype=dtype, device=device)
    (left @ right)[0, 0].item()  # the first one prepares
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        (left @ right)[0, 0].item()
        count += 1
    return count / (time.perf_counter() - began)
