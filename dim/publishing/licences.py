"""Licences under which a dataset, and the sources of its build, may be published."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pyarrow.parquet as pq

from dim.publishing.files import RepoFile

PUBLISHABLE = frozenset(
    {
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "cc0-1.0", "pddl", "odc-by", "odbl"),
        *(f"cc-by-{version}" for version in ("2.0", "2.5", "3.0", "4.0")),
        *(f"cc-by-sa-{version}" for version in ("2.0", "2.5", "3.0", "4.0")),
        *(f"cc-by-nc-{version}" for version in ("2.0", "3.0", "4.0")),
        *(f"cc-by-nc-sa-{version}" for version in ("2.0", "3.0", "4.0")),
        *("cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "gfdl", "artistic-2.0", "wtfpl"),
    }
)
"""Licences, as identifiers of the Hub, that allow publishing modified data; no-derivatives licences do not."""


def spdx(licence: str) -> str:
    """Converts the name of a licence to an identifier of the Hub.

    Example:

        >>> spdx("CC BY-SA 4.0"), spdx("MIT")
        ('cc-by-sa-4.0', 'mit')
    """
    return re.sub(r"[\s_]+", "-", licence.strip().lower())


def licence_problem(where: str, licence: object) -> str | None:
    """Says why a licence does not allow publishing.

    Args:
        where: What has the licence, for the message.
        licence: A licence, or a list of them.

    Returns:
        A sentence, or `None` if every licence is in [`PUBLISHABLE`].

    Example:

        >>> licence_problem("README.md", ["mit", "CC BY 4.0"])
        >>> licence_problem("README.md", "cc-by-nd-4.0")
        "README.md has the licence 'cc-by-nd-4.0', which does not allow publishing, or is unknown."
    """
    for one in (licence if isinstance(licence, list) else [licence]) or [None]:
        if not isinstance(one, str) or spdx(one) not in PUBLISHABLE:
            given = f"the licence {one!r}, which does not allow publishing, or is unknown" if one else "no licence"
            return f"{where} has {given}."
    return None


def dataset_problems(name: str, metadata: dict[str, Any], text: str) -> list[str]:
    r"""Lists why a dataset may not be published: its licence, those of the raw files in its build, and its columns.

    Args:
        name: Path of the card, for messages.
        metadata: Metadata of the card.
        text: Text of the card, with the table of sources that `dim build` writes.

    Returns:
        Sentences; none if it may be published.

    Example:

        >>> table = ["| raw file | licence |", "|---|---|", "| train.json | none |"]
        >>> dataset_problems("README.md", {"license": "cc-by-4.0"}, "\n".join(table))
        ['README.md: the raw file train.json that it was built from has no licence.']
    """
    problems = [licence_problem(name, metadata.get("license"))]
    if not is_own(text):  # for the user's own data, the card's licence counts
        for file, licence in source_licences(text):
            where = f"{name}: the raw file {file} that it was built from"
            problems.append(licence_problem(where, "" if licence == "none" else licence))
        infos = [_list(info.get("features")) for info in _list(metadata.get("dataset_info"))]
        columns = {column["name"] for features in infos for column in features}
        if has_pictures(text) and "image_license" not in columns:
            problems.append(
                f"{name}: pictures of the release are embedded without a column image_license: build it again."
            )
    return [problem for problem in problems if problem]


def picture_problems(files: Iterable[RepoFile]) -> list[str]:
    """Lists why pictures may not be published, by the columns `image_license` and `image_licenses` of their rows.

    Args:
        files: The files of a dataset.

    Returns:
        One sentence for each licence that does not allow publishing, with the number of its pictures.

    Example:

        >>> from pathlib import Path
        >>> import pyarrow as pa
        >>> rows = [{"image": {"path": "a.png"}, "image_license": one} for one in ("cc0-1.0", "fair use")]
        >>> _ = pq.write_table(pa.Table.from_pylist(rows), "train.parquet")
        >>> picture_problems([RepoFile("train.parquet", Path("train.parquet"))])
        ["1 of the pictures have the licence 'fair use', which does not allow publishing, or is unknown."]
    """
    counts: Counter[str] = Counter()
    for file in files:
        if file.path.endswith(".parquet"):
            counts += _licences_of(BytesIO(file.content) if isinstance(file.content, bytes) else file.content)
    problems = ((licence_problem(f"{count:,} of the pictures", one), one) for one, count in counts.most_common())
    return [problem.replace(" has ", " have ", 1) for problem, _ in problems if problem]


def _licences_of(source: Any) -> Counter[str]:
    """Counts the pictures of a Parquet file by their licence."""
    with pq.ParquetFile(source) as file:
        names = set(file.schema_arrow.names)
        counts: Counter[str] = Counter()
        if {"image", "image_license"} <= names:
            for batch in file.iter_batches(columns=["image.path", "image_license"]):
                shown = batch.filter(batch["image"].is_valid())
                counts.update(one or "" for one in shown["image_license"].to_pylist())
        if {"images", "image_licenses"} <= names:
            for batch in file.iter_batches(columns=["image_licenses"]):
                counts.update(one or "" for row in batch["image_licenses"].to_pylist() for one in row or ())
    return counts


def is_own(text: str) -> bool:
    """Returns whether a card is of a build of a user's own data.

    Example:

        >>> is_own("| layout | jsonl |"), is_own("| layout | kgmel |")
        (True, False)
    """
    return _build(text).get("layout") == "jsonl"


def has_pictures(text: str) -> bool:
    """Returns whether a card is of a build with embedded pictures.

    Example:

        >>> has_pictures("| pictures | embedded |"), has_pictures("| pictures | none |")
        (True, False)
    """
    return _build(text).get("pictures") == "embedded"


def _build(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| (layout|pictures) \| ([^|]*?) \|$", text, flags=re.MULTILINE))


def source_licences(text: str) -> Iterator[tuple[str, str]]:
    r"""Reads the raw files and their licences from the table of sources of a card.

    Args:
        text: The card's text.

    Yields:
        File and licence.

    Example:

        >>> table = ["| raw file | licence |", "|---|---|", "| train.json | cc-by-4.0 |"]
        >>> list(source_licences("\n".join(table)))
        [('train.json', 'cc-by-4.0')]
    """
    columns: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            columns = []
        elif "raw file" in cells and "licence" in cells:
            columns = cells
        elif columns and not set(line) <= set("|-: "):
            row = dict(zip(columns, cells, strict=False))
            yield row["raw file"], row.get("licence", "")


def _list(value: object) -> list[dict[str, Any]]:
    """Returns a YAML value that may be a mapping or a list of them as a list."""
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []
