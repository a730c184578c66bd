"""The dataset card: the text of `card.md` with counts of the rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from string import Template
from typing import Any

import pyarrow as pa
from icons import TILE
from rows import SPLITS, Tables

HERE = Path(__file__).resolve().parent
CARD_TYPES = {pa.string(): "string", pa.int32(): "int32"}
Facts = dict[str, dict[str, dict[str, Any]]]


def write(path: Path, made: Tables, facts: Facts, packages: dict[str, dict[str, str]]) -> None:
    """Writes the card.

    Args:
        path: output file.
        made: the rows.
        facts: counts and sizes of the files, see `build.write`.
        packages: the pinned packages by style.
    """
    text = Template((HERE / "card.md").read_text("utf-8")).substitute(
        counts=_counts(made, facts), styles=_styles(made, packages), **_numbers(made, facts)
    )
    path.write_text(_front_matter(facts) + text, "utf-8")


def _front_matter(facts: Facts) -> str:
    lines = ["---", "pretty_name: Namesakes", "language:", "- en", "license:"]
    lines += [f"- {name}" for name in ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0")]
    lines += ["task_categories:", "- text-retrieval", "task_ids:", "- entity-linking-retrieval"]
    lines += ["tags:", "- entity-linking", "- multimodal", "- disambiguation", "- icons"]
    lines += ["size_categories:", "- 10K<n<100K", "configs:"]
    for config, splits in facts.items():
        lines += [f"- config_name: {config}", *(["  default: true"] if config == "mentions" else []), "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*.parquet"]
    lines.append("dataset_info:")
    for config, splits in facts.items():
        lines += [f"- config_name: {config}", "  features:"]
        for column in next(iter(splits.values()))["schema"]:
            lines += [f"  - name: {column.name}", f"    {_feature(column.type)}"]
        lines.append("  splits:")
        for split, fact in splits.items():
            lines += [f"  - name: {split}", f"    num_bytes: {fact['num_bytes']}"]
            lines.append(f"    num_examples: {fact['num_examples']}")
        lines.append(f"  download_size: {sum(fact['file_bytes'] for fact in splits.values())}")
        lines.append(f"  dataset_size: {sum(fact['num_bytes'] for fact in splits.values())}")
    return "\n".join([*lines, "---", ""])


def _feature(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "sequence: " + _feature(kind.value_type).removeprefix("dtype: ")
    return "dtype: " + ("image" if pa.types.is_struct(kind) else CARD_TYPES[kind])


def _numbers(made: Tables, facts: Facts) -> dict[str, str]:
    types = {row["id"]: row["type"] for row in made.entities}
    senses: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        lists = {row["mention_id"]: row["entity_ids"] for row in made.candidates[split]}
        senses |= {row["mention"]: tuple(lists[row["id"]]) for row in made.mentions[split] if row["id"] in lists}
    sizes = Counter(len(ids) for ids in senses.values())
    chances = [1 / len(row["entity_ids"]) for row in made.candidates["test"]]
    return {
        "forms": str(len(senses)),
        "senses": str(len({i for ids in senses.values() for i in ids})),
        "entities": f"{len(made.entities):,}",
        "background": f"{len(made.entities) - len({i for ids in senses.values() for i in ids}):,}",
        "sizes": ", ".join(f"{count} with {size}" for size, count in sorted(sizes.items())),
        "same_type": str(sum(len({types[i] for i in ids}) == 1 for ids in senses.values())),
        "chance": f"{100 * sum(chances) / len(chances):.1f}",
        "pictureless": str(sum(not row["images"] for row in made.entities)),
        "megabytes": f"{sum(f['file_bytes'] for s in facts.values() for f in s.values()) / 1e6:.1f}",
    }


def _counts(made: Tables, facts: Facts) -> str:
    lines = ["| split | rows | namesake | background | surface forms | golds | pictures |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for split in SPLITS:
        rows = made.mentions[split]
        topics = Counter(row["topic"] for row in rows)
        forms = len({row["mention"] for row in rows if row["topic"] == "namesake"})
        golds, pictures = (len({row[name] for row in rows}) for name in ("entity_id", "image_id"))
        cells = [len(rows), topics["namesake"], topics["background"], forms, golds, pictures]
        lines.append(f"| `{split}` | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return "\n".join(lines)


def _styles(made: Tables, packages: dict[str, dict[str, str]]) -> str:
    entities = Counter(style for row in made.entities for style in row["image_styles"])
    mentions = {split: Counter(row["image_style"] for row in made.mentions[split]) for split in SPLITS}
    lines = [
        "| `image_style` | drawings | package | licence | entities | train | validation | test |",
        "|---|---|---|---|--:|--:|--:|--:|",
    ]
    for style in [*packages, TILE]:
        package = packages["simple-icons" if style == TILE else style]
        title = f"[{package['title']}]({package['upstream']})"
        title = "the same glyphs, inverted on a tile" if style == TILE else title
        cells = [f"`{style}`", title, f"`{package['name']}@{package['version']}`", package["license"]]
        cells += [f"{count[style]:,}" for count in (entities, *mentions.values())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
