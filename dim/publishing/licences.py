"""Which licences let a dataset be passed on, and whether those of a dataset's sources do."""

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
"""Licences, as the Hub writes them, under which data may be passed on changed; no-derivatives licences are not."""


def spdx(licence: str) -> str:
    """A licence as the Hub writes it.

    Example:

        >>> spdx("CC BY-SA 4.0"), spdx("MIT")
        ('cc-by-sa-4.0', 'mit')
    """
    return re.sub(r"[\s_]+", "-", licence.strip().lower())


def check_licence(where: str, licence: object) -> None:
    """Raises unless every licence given allows passing on.

    Args:
        where: What has the licence, for the message.
        licence: A licence, or a list of them.

    Raises:
        DIMError: If there is none, or one that does not allow it or is not known to.

    Example:

        >>> check_licence("README.md", ["mit", "CC BY 4.0"])
        >>> check_licence("README.md", "cc-by-nd-4.0")
        Traceback (most recent call last):
            ...
        DIMError: README.md has the licence 'cc-by-nd-4.0', which is not known to allow passing it on. With ...
    """
    given = licence if isinstance(licence, list) else [licence]
    for one in given or [None]:
        if not isinstance(one, str) or spdx(one) not in PUBLISHABLE:
            told = f"the licence {one!r}, which is not known to allow passing it on" if one else "no licence"
            raise DIMError(f"{where} has {told}. With the owner's permission, say so there: license: cc-by-4.0, say.")


def check_dataset_licences(name: str, front: dict[str, Any], body: str) -> None:
    r"""Raises unless a dataset, and every raw file that it was built from, may be passed on.

    Args:
        name: The dataset's card, for messages.
        front: The YAML of its card.
        body: The text of its card, with the table of sources that `dim build` writes.

    Raises:
        DIMError: If the card, or a raw file, has no licence that allows it; if pictures of a public release are
            embedded, whose licences nobody has looked up.

    Example:

        >>> table = ["| raw file | licence |", "|---|---|", "| train.json | none |"]
        >>> check_dataset_licences("README.md", {"license": "cc-by-4.0"}, "\n".join(table))
        Traceback (most recent call last):
            ...
        DIMError: README.md: the raw file train.json that it was built from has no licence. With ...
    """
    told = dict(re.findall(r"^\| (layout|pictures) \| ([^|]*?) \|$", body, flags=re.MULTILINE))
    check_licence(name, front.get("license"))
    if told.get("layout") == "jsonl":  # the user's own: the card's licence is theirs to give
        return
    for file, licence in source_licences(body):
        check_licence(f"{name}: the raw file {file} that it was built from", "" if licence == "none" else licence)
    columns = {column["name"] for info in _list(front.get("dataset_info")) for column in _list(info.get("features"))}
    if told.get("pictures") == "embedded" and "image_license" not in columns:
        raise DIMError(
            f"{name}: pictures of the release are embedded, and no column image_license says under which licence each "
            "is. Build it without --images, or add the column."
        )


def source_licences(body: str) -> Iterator[tuple[str, str]]:
    r"""The raw files of a card's table of sources and their licences, as the card has them.

    Args:
        body: The card's text.

    Yields:
        File and licence.

    Example:

        >>> table = ["| raw file | licence |", "|---|---|", "| train.json | cc-by-4.0 |"]
        >>> list(source_licences("\n".join(table)))
        [('train.json', 'cc-by-4.0')]
    """
    columns: list[str] = []
    for line in body.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            columns = []
        elif "raw file" in cells and "licence" in cells:
            columns = cells
        elif columns and not set(line) <= set("|-: "):
            row = dict(zip(columns, cells, strict=False))
            yield row["raw file"], row.get("licence", "")


def _list(value: object) -> list[dict[str, Any]]:
    """A value of YAML that may be one thing or several, as a list."""
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


__all__ = ["PUBLISHABLE", "check_dataset_licences", "check_licence", "source_licences", "spdx"]
