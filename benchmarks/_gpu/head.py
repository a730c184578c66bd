"""Training of the head on cached features, beside the loop of DIM's reference code on the same device."""

from pathlib import Path

from _gpu.processes import Found
from _gpu.timing import median


def measure(tiny: bool, work: Path) -> Found:
    """Rows per second at batch 4,096, share of loading, and the ratio to the reference's loop, one row at a time."""
    from _made_up import checkpoint, dataset
    from training import one_by_one, run_of, timed_steps

    rows, width, batch, steps = (64, 32, 16, 2) if tiny else (16_384, 512, 4096, 16)
    dataset(work / "data", mentions=rows, entities=rows // 2, words=4, picture=8)
    checkpoint(work / "dim", width=width, layers=1, picture=8, projection=width)
    run = run_of(work, work / "dim", work / "data", batch, tune="head")
    timed_steps(run, 2)
    ours, loading, theirs = [], [], []
    for _ in range(5):
        found = timed_steps(run, steps)
        ours.append(found["rows/s"])
        loading.append(found["loading"])
        theirs.append(one_by_one(run, work, 0.2 if tiny else 2.5))
    ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
    figures = {"rows/s": ours, "rows/s, reference loop": theirs, "share of loading": loading, "ratio": ratio,
               "flop/s": found["flop/s"]}  # fmt: skip
    share = median(loading)
    summary = f"{median(ours):,.0f} : {median(theirs):,.0f} rows/s = {ratio:.0f}x; loading {share:.0%} of a step"
    return Found(summary, None if tiny else share <= 0.1 and ratio >= 50, figures)
