"""The training step with `torch.compile` on the towers."""

from pathlib import Path

import torch

from _gpu.made import on_device, picture_run
from _gpu.processes import Found
from _gpu.timing import device, median, times, wait


def measure(tiny: bool, work: Path) -> Found:
    """Seconds of a step before and after compiling both towers, and of compiling them."""
    size, rounds = (8, 2) if tiny else (512, 5)
    run = picture_run(work, tiny, size)
    batch = on_device(next(run.epoch(0, 0))[0], device())
    eager = median(times(lambda: run.step([batch]), rounds))
    backend = "inductor" if torch.cuda.is_available() else "aot_eager"  # C++ kernels would take minutes
    run.model.text_model.compile(backend=backend)
    run.model.vision_model.compile(backend=backend)
    began = wait()
    run.step([batch])
    compiling = wait() - began
    compiled = median(times(lambda: run.step([batch]), rounds))
    figures = {"pairs/s": size / eager, "pairs/s, compiled": size / compiled, "seconds of compiling": compiling}
    own = any("compile" in name for name in vars(run.arguments))
    figures["option of the package"] = own
    note = "" if own else "; the package has no option for it yet"
    rates = f"{size / compiled:,.0f} : {size / eager:,.0f} pairs/s"
    summary = f"batch {size}: {rates} = {eager / compiled:.2f}x, {compiling:.0f} s to compile"
    return Found(summary + note, None, figures)
