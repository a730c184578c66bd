"""Results of `dim eval` as the Hub takes them: files in `.eval_results/`, and a section of the model's card."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from dim.errors import DIMError
from dim.publishing.benchmark import METRICS, PROTOCOLS, task_id
from dim.publishing.files import RepoFile
from dim.publishing.upload import check_target

FILES = ".eval_results/*.yaml"
_FIELDS = ("model", "dataset", "dataset_commit", "split", "date", "mentions", "entities", "systems")
_COLUMNS = ("H@1", "H@3", "H@5", "H@10", "H@20", "MRR")
_WITHOUT_PRIOR = "DIM without prior"  # what `dim eval` calls the vectors alone of a model with a lexical prior
_SECTION = """
## Evaluation

By `dim eval`, in percent, with 95 % intervals where the report has them; a tie counts half.

"""


def read_report(path: Path, folder: Path) -> dict[str, Any]:
    """Reads a report of `dim eval`.

    Args:
        path: Its `report.json`.
        folder: The model that is pushed.

    Returns:
        The numbers of the report.

    Raises:
        DIMError: If the file is no such report, lacks a field, or is of another model.

    Example:

        >>> _ = Path("report.json").write_text('{"model": "demo/model", "systems": []}')
        >>> read_report(Path("report.json"), Path("demo/model"))
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: report.json has no 'dataset': run dim eval again, and pass the report.json ...
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DIMError(f"{path} is not a report.json of dim eval.") from error
    if not isinstance(report, dict) or "systems" not in report:
        raise DIMError(f"{path} is not a report.json of dim eval.")
    missing = next((name for name in _FIELDS if name not in report), None)
    if missing is not None:
        raise DIMError(f"{path} has no {missing!r}: run dim eval again, and pass the report.json that it writes.")
    if report["model"] is None or Path(report["model"]).resolve() != folder.resolve():
        raise DIMError(f"{path} is a report on {report['model']}, not on {folder}.")
    if not any("H@1" in metrics for _, _, metrics in _measured(report)):
        raise DIMError(f"{path} has no metrics of the model: run dim eval again.")
    return report


def result_files(
    reports: Sequence[dict[str, Any]], dataset: str | None = None
) -> tuple[tuple[RepoFile, ...], tuple[str, ...]]:
    """Writes one file of results for each dataset.

    Args:
        reports: From [`read_report`].
        dataset: Hub name of the datasets that `dim eval` read from a folder.

    Returns:
        The files, and notes to the user.

    Raises:
        DIMError: If `dataset` is no name of a repository or contradicts a report, or two reports give the same result.

    Example:

        >>> metrics = {"full_kb": {"mentions": 9, "H@1": {"value": 91.084, "low": 87.0, "high": 94.0}}}
        >>> report = {"dataset": "org/gems", "dataset_commit": "5503434ddd753f426f4b38109466949a1217c2bb",
        ...           "split": "test", "date": "2026-11-28", "systems": [{"metrics": metrics}]}
        >>> [file], _ = result_files([report])
        >>> print(file.path, file.read().decode(), sep="\\n", end="")
        .eval_results/gems.yaml
        - dataset:
            id: org/gems
            task_id: test_full_kb_hits_at_1
            revision: 5503434ddd753f426f4b38109466949a1217c2bb
          value: 91.08
          date: '2026-11-28'
          notes: split test, protocol full_kb, H@1 in percent, 95 % interval 87.0 to 94.0
    """
    if dataset is not None:
        check_target(dataset)
        if not reports:
            raise DIMError("--dataset names the dataset of a report: give --results too.")
    notes: list[str] = []
    found: dict[str, dict[tuple[str, str], EvalResultEntry]] = {}
    for report in reports:
        on_hub = report["dataset_commit"] is not None
        if on_hub and dataset not in (None, report["dataset"]):
            raise DIMError(f"--dataset is {dataset}, but the report is on {report['dataset']} of the Hub.")
        name = report["dataset"] if on_hub else dataset
        if name is None:
            notes.append(f"the results on the folder {report['dataset']} are in the card alone: the Hub lists those on "
                         "datasets that it has; name it by --dataset owner/name")  # fmt: skip
            continue
        entries = found.setdefault(name.split("/")[-1], {})
        for entry in _entries(report, name):
            if (name, entry.task_id) in entries:
                raise DIMError(f"Two reports give {entry.task_id} on {name}: pass one of them.")
            entries[name, entry.task_id] = entry
    files = (
        RepoFile(f".eval_results/{short}.yaml", _text(entries.values()).encode())
        for short, entries in found.items()
        if entries
    )
    return tuple(files), tuple(notes)


def _entries(report: dict[str, Any], name: str) -> list[EvalResultEntry]:
    """The results that have a leaderboard: those of the whole model."""
    return [
        EvalResultEntry(
            dataset_id=name,
            task_id=task_id(report["split"], protocol, metric),
            value=round(metrics[metric]["value"], 2),
            dataset_revision=report["dataset_commit"],
            date=report["date"],
            notes=f"split {report['split']}, protocol {protocol}, {metric} in percent{_interval(metrics[metric])}",
        )
        for protocol, kind, metrics in _measured(report)
        for metric in METRICS
        if protocol in PROTOCOLS and not kind and report["split"] != "train" and metric in metrics
    ]


def _interval(metric: dict[str, float | None]) -> str:
    low, high = metric["low"], metric["high"]
    return "" if low is None or high is None else f", 95 % interval {low:.1f} to {high:.1f}"


def _text(entries: Iterable[EvalResultEntry]) -> str:
    return yaml.safe_dump(eval_result_entries_to_yaml(list(entries)), sort_keys=False, allow_unicode=True, width=120)


def _measured(report: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Protocol, part of the model ("" for all of it) and metrics of each ranking by the model."""
    first, *others = report["systems"] or [{"metrics": {}}]
    systems = [("", first), *(("vectors alone", one) for one in others if one["name"] == _WITHOUT_PRIOR)]
    return [(protocol, kind, metrics) for kind, one in systems for protocol, metrics in one["metrics"].items()]


def results_section(reports: Sequence[dict[str, Any]], dataset: str | None = None) -> str:
    """Writes the section of a card with every metric of the reports.

    Args:
        reports: From [`read_report`].
        dataset: As for [`result_files`].

    Returns:
        Markdown; empty without a report.

    Example:

        >>> metrics = {"full_kb": {"mentions": 9, "H@1": {"value": 91.084, "low": 87.0, "high": 94.0}}}
        >>> report = {"dataset": "data/gems", "dataset_commit": None, "split": "test", "date": "2026-11-28",
        ...           "mentions": 9, "entities": 40, "systems": [{"metrics": metrics}]}
        >>> print(*results_section([report]).splitlines()[-4:], sep="\\n")
        <BLANKLINE>
        | protocol | mentions | H@1 |
        | --- | --: | --: |
        | `full_kb` | 9 | 91.08 [87.0, 94.0] |
    """
    return _SECTION + "\n".join(_table(report, dataset) for report in reports) if reports else ""


def _table(report: dict[str, Any], dataset: str | None) -> str:
    # The folder's path says nothing to others.
    name = report["dataset"] if report["dataset_commit"] else dataset or Path(report["dataset"]).name
    measured = [(protocol, kind, metrics) for protocol, kind, metrics in _measured(report) if "H@1" in metrics]
    columns = [column for column in _COLUMNS if column in measured[0][2]]
    lines = [
        f"`{name}`, split `{report['split']}`, {report['mentions']:,} mentions, {report['entities']:,} entities, "
        f"{report['date']}:",
        "",
        f"| protocol | mentions | {' | '.join(columns)} |",
        f"| --- | {' | '.join(['--:'] * (1 + len(columns)))} |",
    ]
    for protocol, kind, metrics in measured:
        label = f"`{protocol}`{f', {kind}' if kind else ''}"
        cells = [_cell(metrics[column]) for column in columns]
        lines.append(f"| {label} | {metrics['mentions']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(metric: dict[str, float | None]) -> str:
    low, high = metric["low"], metric["high"]
    bounds = "" if low is None or high is None else f" [{low:.1f}, {high:.1f}]"
    return f"{metric['value']:.2f}{bounds}"
