"""Licences under which a dataset, and the sources of its build, may be published."""

import re
from collections.abc import Iterator
from typing import Any

from dim.errors import DIMError

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


def check_licence(where: str, licence: object) -> None:
    """Checks that every licence allows publishing.

    Args:
        where: What has the licence, for the message.
        licence: A licence, or a list of them.

    Raises:
        DIMError: If a licence is missing or not in [`PUBLISHABLE`].

    Example:

        >>> check_licence("README.md", ["mit", "CC BY 4.0"])
        >>> check_licence("README.md", "cc-by-nd-4.0")
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: README.md has the licence 'cc-by-nd-4.0', which ... With ...
    """
    for one in (licence if isinstance(licence, list) else [licence]) or [None]:
        if not isinstance(one, str) or spdx(one) not in PUBLISHABLE:
            given = f"the licence {one!r}, which does not allow publishing, or is unknown" if one else "no licence"
            raise DIMError(f"{where} has {given}. With the owner's permission, state it there: license: cc-by-4.0.")


def check_dataset_licences(name: str, metadata: dict[str, Any], text: str) -> None:
    r"""Checks the licences of a dataset and of every raw file in its build.

    Args:
        name: Path of the card, for messages.
        metadata: Metadata of the card.
        text: Text of the card, with the table of sources that `dim build` writes.

    Raises:
        DIMError: If the card or a raw file has no licence that allows publishing, or if pictures of a public release
            are embedded without a column of their licences.

    Example:

        >>> table = ["| raw file | licence |", "|---|---|", "| train.json | none |"]
        >>> check_dataset_licences("README.md", {"license": "cc-by-4.0"}, "\n".join(table))
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: README.md: the raw file train.json that it was built from has no licence. With ...
    """
    build = dict(re.findall(r"^\| (layout|pictures) \| ([^|]*?) \|$", text, flags=re.MULTILINE))
    check_licence(name, metadata.get("license"))
    if build.get("layout") == "jsonl":  # the user's own data: the card's licence counts
        return
    for file, licence in source_licences(text):
        check_licence(f"{name}: the raw file {file} that it was built from", "" if licence == "none" else licence)
    columns = {column["name"] for info in _list(metadata.get("dataset_info")) for column in _list(info.get("features"))}
    if build.get("pictures") == "embedded" and "image_license" not in columns:
        raise DIMError(
            f"{name}: pictures of the release are embedded without a column image_license. Build the dataset without "
            "--images, or add the column."
        )


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
