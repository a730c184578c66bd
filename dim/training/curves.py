"""Learning curves of a run, as a picture."""

from pathlib import Path

from dim.common.files import atomic_file


def write_curves(path: Path, history: list[dict], metric: str) -> None:
    """Draws the loss and the validation metrics over the steps.

    Args:
        path: The PNG to write.
        history: One row for each evaluation on the validation split.
        metric: The metric that selects the checkpoint; its best value is marked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in history]
    left.plot(steps, [row["loss"] for row in history], marker="o", color="tab:red")
    left.set(title="loss of the last batch", xlabel="step", ylim=(0, None))
    for name, colour in (("H@1", "tab:blue"), ("H@5", "tab:green"), ("MRR", "tab:orange")):
        right.plot(steps, [row[name] for row in history], marker="o", color=colour, label=name)
        if f"vectors {name}" in history[0]:
            values = [row[f"vectors {name}"] for row in history]
            right.plot(steps, values, linestyle=":", color=colour, label=f"{name}, vectors alone")
    best = max(history, key=lambda row: row[metric])
    right.axvline(best["step"], color="grey", linewidth=0.8)
    right.set(title=f"validation, percent (best {metric} {best[metric]:.1f} at step {best['step']})", xlabel="step")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
