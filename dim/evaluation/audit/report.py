"""Audit as Markdown."""

from typing import Any

from dim.evaluation.report import cell


def audit_markdown(found: dict[str, Any]) -> str:
    """Formats an audit as Markdown.

    Args:
        found: From [`dim.evaluation.audit.findings.audit`] or [`dim.evaluation.audit.release.audit_release`].

    Returns:
        The text, beginning with leaks and revealed answers.
    """
    if "layout" in found:
        return _release(found)
    lines = [f"# Audit of {cell(found['dataset'])}", "", "## Shared between splits", ""]
    for pair, shared in found["leaks"].items():
        lines += [f"| {pair} | different | of | mentions affected | first |", "|---|--:|--:|--:|---|"]
        for kind, one in shared.items():
            ids = one["mentions"]
            lines.append(f"| {kind} | {one['different']:,} | {one['of']:,} | {ids['count']:,} | {_ids(ids)} |")
        lines.append("")
    if not found["leaks"]:
        lines += ["There is only one split.", ""]
    lines += [
        "## Ids and file names that reveal the answer",
        "",
        "| split | what | mentions | first |",
        "|---|---|--:|---|",
    ]
    for split, columns in found["given_away"].items():
        lines += [f"| {split} | {name} | {one['count']:,} | {_ids(one)} |" for name, one in columns.items()]
    lines += [""]
    for split, values in found["splits"].items():
        lines += [f"## Split {split}", "", *_values(values)]
    lines += ["## Knowledge base", "", *_values(found["knowledge_base"])]
    return "\n".join(lines).rstrip() + "\n"


def _release(found: dict[str, Any]) -> str:
    values = {name: value for name, value in found.items() if name not in ("dataset", "notes")}
    lines = [f"# Audit of the raw release of {cell(found['dataset'])}", "", *_values(values)]
    lines += ["## Notes of the reader", "", *(f"- {cell(note)}" for note in found["notes"])]
    return "\n".join(lines).rstrip() + "\n"


def _values(values: dict[str, Any]) -> list[str]:
    lines = ["| what | | first |", "|---|--:|---|"]
    for name, value in values.items():
        if isinstance(value, dict) and "count" in value:
            lines.append(f"| {name} | {value['count']:,} | {_ids(value)} |")
        elif isinstance(value, dict) and "entities" in value:
            lines.append(f"| {name} | {value['names']:,} names of {value['entities']:,} entities | "
                         f"{cell(', '.join(value['first']))} |")  # fmt: skip
        elif isinstance(value, dict):
            parts = ", ".join(f"{cell(key)} {number:,.0f}" for key, number in value.items())
            lines.append(f"| {name} | {parts} | |")
        else:
            lines.append(f"| {name} | {value:,} | |" if isinstance(value, int) else f"| {name} | {cell(value)} | |")
    return [*lines, ""]


def _ids(finding: dict[str, Any]) -> str:
    return cell(", ".join(finding["first"]))
