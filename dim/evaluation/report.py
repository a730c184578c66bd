"""Report files: JSON for programs, Markdown for papers, and one self-contained HTML page."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dim.common.files import write_text
from dim.common.printable import printable
from dim.evaluation.run import Report

FILES = ("report.html", "report.md", "report.json")
PAGE = Path(__file__).with_name("report.html")
_METRICS = ("H@1", "H@3", "H@5", "H@10", "H@20", "MRR")


def write_report(report: Report, folder: Path, command: str = "") -> list[Path]:
    """Writes `report.json`, `report.md` and `report.html`.

    Args:
        report: The results.
        folder: An existing folder.
        command: The command that was run, for the reader.

    Returns:
        The files.
    """
    numbers = {"command": command, "date": datetime.now(timezone.utc).date().isoformat(), **report.numbers}
    page = PAGE.read_text(encoding="utf-8").replace("{{data}}", _embedded({**numbers, "examples": report.examples}))
    files = [folder / name for name in FILES]
    write_text(files[0], page)
    write_text(files[1], markdown(numbers))
    plain = {**numbers, "examples": [_without_pictures(one) for one in report.examples]}
    write_text(files[2], json.dumps(plain, indent=2, allow_nan=False) + "\n")
    return files


def _embedded(value: object) -> str:
    """JSON with escaped markup, so that no text can close the script element that contains it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _without_pictures(example: dict[str, Any]) -> dict[str, Any]:
    def plain(part: dict[str, Any] | None) -> dict[str, Any] | None:
        return part and {name: value for name, value in part.items() if name != "picture"}

    return {
        **{name: value for name, value in example.items() if name != "picture"},
        "gold": plain(example["gold"]),
        "found": [plain(one) for one in example["found"]],
    }


def markdown(numbers: dict[str, Any]) -> str:
    """Formats the report as Markdown: a table for each protocol, then slices, calibration, NIL and paired tests.

    Args:
        numbers: As in `report.json`.

    Returns:
        The text.
    """
    model = numbers["model"] or "no model"
    lines = [f"# {cell(model)} on {cell(numbers['dataset'])}, {numbers['split']}", ""]
    lines += [
        f"{numbers['mentions']:,} mentions ({numbers['NIL mentions']:,} NIL, {numbers['with picture']:,} with a "
        f"picture), {numbers['entities']:,} entities. Percent; intervals: {numbers['intervals']}. {numbers['date']}.",
        "",
    ]
    if numbers["command"]:
        lines += ["```bash", numbers["command"].replace("```", ""), "```", ""]
    if numbers["candidates"]:
        recalls = ", ".join(f"{name} {value:.2f}" for name, value in numbers["candidates"].items())
        lines += [f"Candidates: {recalls}.", ""]
    for name, why in numbers["not run"].items():
        lines += [f"Not run: {name}: {cell(why)}.", ""]
    for protocol, about in numbers["protocols"].items():
        meaning = about["meaning"][0].upper() + about["meaning"][1:]
        lines += [f"## Protocol `{protocol}`", "", f"{meaning}. Ties: {about['ties']}.", ""]
        lines += _table(protocol, numbers["systems"])
    first = numbers["systems"][0]
    for group, slices in first["slices"].items():
        lines += [f"## Slice: {group} (`{next(iter(numbers['protocols']))}`, H@1)", ""]
        lines += [
            "| system | " + " | ".join(f"{cell(name)} ({one['mentions']:,})" for name, one in slices.items()) + " |"
        ]
        lines += ["|---|" + "--:|" * len(slices)]
        for system in numbers["systems"]:
            row = [_interval(system["slices"][group].get(name, {}).get("H@1")) for name in slices]
            lines += [f"| {system['name']} | " + " | ".join(row) + " |"]
        lines += [""]
    lines += _calibration(numbers["systems"])
    lines += _nil(numbers["systems"])
    lines += _tests(numbers["tests"])
    return "\n".join(lines).rstrip() + "\n"


def cell(text: object) -> str:
    """Formats a text for a cell of a Markdown table: on one line, with Markdown and HTML characters escaped.

    Args:
        text: Any value.

    Returns:
        The escaped text.

    Example:
        >>> cell("a|b\\n<i>")
        'a\\\\|b &lt;i&gt;'
    """
    plain = printable(str(text))
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _interval(one: dict[str, float | None] | None, digits: int = 1) -> str:
    if one is None or one["value"] is None:
        return ""
    low, high = one["low"], one["high"]
    bounds = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{one['value']:.{digits}f}{bounds}"


def _table(protocol: str, systems: list[dict[str, Any]]) -> list[str]:
    columns = [*_METRICS, "mean rank", "median rank"]
    lines = ["| system | mentions | " + " | ".join(columns) + " |", "|---|--:|" + "--:|" * len(columns)]
    for system in systems:
        metrics = system["metrics"][protocol]
        row = [_interval(metrics.get(name)) for name in columns]
        lines.append(f"| {system['name']} | {metrics['mentions']:,} | " + " | ".join(row) + " |")
    return [*lines, ""]


def _calibration(systems: list[dict[str, Any]]) -> list[str]:
    known = [system for system in systems if system["calibration"]]
    if not known:
        return []
    lines = ["## Calibration", "", "ECE of the confidence in the best entity, with 15 bins of equal mass.", ""]
    lines += ["| system | raw | temperature of the other half of the split |", "|---|--:|--:|"]
    for system in known:
        found = system["calibration"]
        fitted = _interval(found["fitted"]["ECE"]) if "fitted" in found else ""
        lines.append(f"| {system['name']} | {_interval(found['raw']['ECE'])} | {fitted} |")
    return [*lines, ""]


def _nil(systems: list[dict[str, Any]]) -> list[str]:
    known = [system for system in systems if system["nil"]]
    if not known:
        return []
    names = ("NIL precision", "NIL recall", "NIL F1")
    lines = [
        "## NIL",
        "",
        "A mention is NIL below the confidence with the best F1 on the other half of the split.",
        "",
    ]
    lines += ["| system | " + " | ".join(names) + " |", "|---|--:|--:|--:|"]
    for system in known:
        lines.append(f"| {system['name']} | " + " | ".join(_interval(system["nil"][name]) for name in names) + " |")
    return [*lines, ""]


def _tests(tests: list[dict[str, Any]]) -> list[str]:
    if not tests:
        return []
    lines = [
        "## Paired tests",
        "",
        "Differences in percentage points; p of the paired randomisation test over surface forms.",
        "",
    ]
    lines += ["| difference | protocol | metric | points | p |", "|---|---|---|--:|--:|"]
    for test in tests:
        points = _interval({"value": test["difference"], "low": test["low"], "high": test["high"]}, 2)
        p = f"{test['p']:.4f}"
        lines.append(f"| {test['first']} - {test['second']} | {test['protocol']} | {test['metric']} | {points} | {p} |")
    return [*lines, ""]
