"""Renewal of the descriptions of a knowledge base: selects entities, and writes new descriptions back."""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from dim.common.ages import read_age
from dim.common.fields import FieldError, identifier
from dim.enhancement.entity_text import EntityText, entity_texts
from dim.enhancement.report import Enhancement, Kept
from dim.errors import DIMError
from dim.folding_dim import composed

if TYPE_CHECKING:
    from dim.enhancement.ledger import Ledger
    from dim.kb.store import KnowledgeBase

_TEXTS = ("id", "name", "description", "type", "description_original")
_GIVEN_UP = "30d"
_ROWS = 2000  # written in one commit
_NAMED = 5


def cutoff(age: str) -> str:
    """The time that lies an age before now.

    Args:
        age: A number of hours, days or weeks: `36h`, `90d`, `12w`.

    Returns:
        The time, ISO 8601 in UTC.

    Raises:
        DIMError: If `age` is not of that form.

    Example:

        >>> cutoff("90d") < cutoff("36h") < cutoff("0h")
        True
        >>> cutoff("90d")
        '...-...-...T...Z'
    """
    length = read_age(age)
    if length is None:
        raise DIMError(f"--older-than is {age!r}: give a number of hours, days or weeks, such as 36h, 90d or 12w.")
    before = datetime.now(timezone.utc) - length
    return before.isoformat(timespec="seconds").replace("+00:00", "Z")


def begun(ledger: "Ledger", age: str) -> str:
    """The cut-off of the refresh whose answers a ledger holds, fixed when it began; a new refresh notes its own.

    A refresh that was stopped goes on with the same entities and answers. After 30 days it counts as given up.

    Args:
        ledger: The ledger; cleared at the end of a refresh.
        age: See [`cutoff`].

    Returns:
        The time, ISO 8601 in UTC.

    Example:

        >>> from pathlib import Path
        >>> from dim.enhancement.ledger import Ledger
        >>> ledger = Ledger(Path("kb.answers.sqlite"))
        >>> begun(ledger, "0h") == begun(ledger, "0h")
        True
    """
    since, today = cutoff(age), cutoff("0h")
    noted = (ledger.note(f"older than {age}") or "").partition(" ")
    if noted[2] and noted[0] > cutoff(_GIVEN_UP):
        return noted[2]
    ledger.note(f"older than {age}", f"{today} {since}")
    return since


def older_than(kb: "KnowledgeBase", time: str) -> list[str]:
    """Finds entities whose description is from before a time.

    The time of a description is `description_created_at`, or without it, as in releases, the last change of the row.

    Args:
        kb: The knowledge base.
        time: ISO 8601, UTC.

    Returns:
        Their ids, in the order of the rows.

    Raises:
        DIMError: If a `description_created_at` is not an ISO 8601 time.

    Example:

        >>> from dim.kb import KnowledgeBase
        >>> rows = [{"id": "e1", "name": "Ada", "description_created_at": "2024-01-31T12:00:00Z"},
        ...         {"id": "e2", "name": "Al"}]
        >>> kb = KnowledgeBase.create("people", rows)
        >>> older_than(kb, cutoff("90d"))  # the other row is new
        ['e1']
    """
    before = _time(time)
    found = []
    for row in kb.table(["id", "description_created_at", "updated_at"]).to_pylist():
        try:
            created = _time(row["description_created_at"]) if row["description_created_at"] else row["updated_at"]
        except ValueError as error:
            what = f"description_created_at of {row['id']!r} is {row['description_created_at']!r}"
            raise DIMError(f"{kb.uri}: {what}; it must be an ISO 8601 time.") from error
        if created < before:
            found.append(row["id"])
    return found


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def chosen(kb: "KnowledgeBase", ids: Sequence[str]) -> list[str]:
    """Checks ids.

    Args:
        kb: The knowledge base.
        ids: Ids that it should have, accents composed or decomposed.

    Returns:
        Each id once, as the knowledge base has it.

    Raises:
        DIMError: If it lacks any of them; the message names the first ones.
    """
    ids = [name if name in kb.row_of else composed(name) for name in ids]
    unknown = [name for name in dict.fromkeys(ids) if name not in kb.row_of]
    if unknown:
        more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
        names = ", ".join(map(repr, unknown[:_NAMED]))
        raise DIMError(f"{kb.uri} has no entity {names}{more}; nothing was asked.")
    return list(dict.fromkeys(ids))


def texts_of(kb: "KnowledgeBase", ids: Sequence[str]) -> list[EntityText]:
    """Texts of entities for a language model.

    Args:
        kb: The knowledge base.
        ids: Their ids.

    Returns:
        Their texts, in the order of `ids`.

    Raises:
        DIMError: If an id is not in the form in which rows are written today, so that no description could be written
            back.

    Example:

        >>> from dim.kb import KnowledgeBase
        >>> [text] = texts_of(KnowledgeBase.open("demo/kb"), ["e0001"])
        >>> text.id, text.name
        ('e0001', 'loudly crying face')
    """
    if not ids:
        return []
    _check_forms(kb.uri, ids)
    return entity_texts(kb.take([kb.row_of[name] for name in ids], _TEXTS).to_pylist(), kb.uri)


def _check_forms(uri: str, ids: Sequence[str]) -> None:
    for name in ids:
        try:
            is_written = identifier({"id": name}, "id") == name
        except FieldError:
            is_written = False
        if not is_written:
            raise DIMError(
                f"{uri}: the id {ascii(name)[:80]} is from an earlier version of dim, in a form that is no longer "
                "written; nothing was asked. Export the entities (`dim kb export`), correct their ids, and create the "
                "knowledge base anew (`dim kb create`)."
            )


def write_back(kb: "KnowledgeBase", asked: Sequence[EntityText], result: Enhancement) -> None:
    """Writes new descriptions with their provenance into the rows that did not change meanwhile.

    Entities whose rows were changed or removed meanwhile move to `result.kept`. All other columns stay, also
    `description_original`: the description that the first generated one replaced.

    Args:
        kb: The knowledge base.
        asked: Texts of the entities as they were sent.
        result: Result of `dim.enhancement.enhance.enhance`; changed in place.

    Example:

        >>> from dim.kb import KnowledgeBase
        >>> kb = KnowledgeBase.create("pioneers", [{"id": "e1", "name": "Ada", "description": "Born in 1815."}])
        >>> result = Enhancement([{"id": "e1", "description": "A mathematician.", "description_source": "llm"}])
        >>> write_back(kb, texts_of(kb, ["e1"]), result)
        >>> kb.table(["description"]).to_pylist()
        [{'description': 'A mathematician.'}]
    """
    from dim.kb.rows import FIELDS

    texts = {entity.id: entity for entity in asked}
    written = []
    starts = range(0, len(result.descriptions), _ROWS)
    for start in tqdm(starts, desc="written", unit="part", disable=len(starts) < 2):
        left = result.descriptions[start : start + _ROWS]
        while left:  # again for rows that changed between reading and writing
            kb.refresh()
            numbers = [kb.row_of[name] for row in left if (name := str(row["id"])) in kb.row_of]
            rows = {row["id"]: row for row in kb.take(numbers, (*FIELDS, "key")).to_pylist()}
            keys = {name: row.pop("key") for name, row in rows.items()}
            now = {one.id: one for one in (entity_texts(rows.values(), kb.uri) if rows else [])}
            same = {name for name, one in now.items() if one == texts[name]}
            done = kb.replace([{**rows[row["id"]], **row} for row in left if row["id"] in same], keys)
            written += [row for row in left if row["id"] in done]
            for row in (row for row in left if row["id"] not in same):
                what = "changed in" if row["id"] in rows else "removed from"
                one = texts[str(row["id"])]
                why = f"{what} the knowledge base meanwhile"
                result.kept.append(Kept(one.id, one.name, why, row["description"] or ""))
            left = [row for row in left if row["id"] in same - done]
    result.descriptions = written
