"""Every public name has a docstring, and an example that runs.

Public is what the pages of `docs/reference` show, and what `dim` and its rooms name in the `__all__` of their
`__init__`. An example stands in the name's own docstring or, for a class, in that of a public method. The examples run
in test_docs.py; that every other name has a docstring is interrogate's to check.
"""

import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import pytest
import yaml

import dim

REFERENCE = sorted((Path(__file__).resolve().parents[2] / "docs" / "reference").glob("*.md"))
ROOMS = sorted(module.name for module in pkgutil.walk_packages(dim.__path__, "dim.") if module.ispkg)


def shown(page: str) -> set[tuple[str, str]]:
    """Module and name of all that a page of the reference shows: `:::` and a path, `members` indented below it."""
    found = set()
    for path, options in re.findall(r"^::: (\S+)\n((?:    .*\n|\n(?=    ))*)", page, flags=re.MULTILINE):
        members = (yaml.safe_load(options) or {}).get("options", {}).get("members")
        if importlib.util.find_spec(path.rpartition(".")[0]) and not is_module(path):
            found.add((path.rpartition(".")[0], path.rpartition(".")[2]))
        else:
            found |= {(path, name) for name in members or defined_in(path)}
    return found


def is_module(path: str) -> bool:
    """Whether a dotted path is that of a module, not of a name in one."""
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:
        return False


def defined_in(module: str) -> list[str]:
    """The public functions and classes that a module defines."""
    names = vars(importlib.import_module(module)).items()
    return [
        name
        for name, value in names
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module
        and not name.startswith("_")
    ]


EXPORTED = {(room, name) for room in ["dim", *ROOMS] for name in getattr(importlib.import_module(room), "__all__", [])}
PUBLIC = sorted(EXPORTED.union(*(shown(page.read_text(encoding="utf-8")) for page in REFERENCE)))


def documented(room: str, name: str) -> str:
    """The docstring of a public name, with those of a class's own public methods."""
    found = getattr(importlib.import_module(room), name)
    kinds = (types.FunctionType, property, classmethod, staticmethod)
    own = [value for key, value in vars(found).items() if not key.startswith("_")] if inspect.isclass(found) else []
    return "\n".join(inspect.getdoc(part) or "" for part in (found, *(part for part in own if isinstance(part, kinds))))


def test_what_is_public():
    assert {("dim", "DIMModel"), ("dim.kb", "KnowledgeBase"), ("dim.training.loop", "train")} <= set(PUBLIC)


def test_members_of_a_module_are_those_named():
    page = "# A\n\n::: dim.corpora.loading\n    options:\n      members: [load_mentions]\n\n::: dim.DIMModel\n"
    assert shown(page) == {("dim.corpora.loading", "load_mentions"), ("dim", "DIMModel")}
    assert len(shown("::: dim.corpora.loading\n")) > 1


@pytest.mark.parametrize("room, name", PUBLIC)
def test_public_name_has_a_docstring(room, name):
    found = getattr(importlib.import_module(room), name)
    own = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    assert own, f"{room}.{name} has no docstring"
    assert not own.startswith(f"{name}("), f"{room}.{name}: the docstring is the one that dataclass makes"


@pytest.mark.parametrize("room, name", PUBLIC)
def test_public_name_has_an_example_that_runs(room, name):
    lines = [line.strip() for line in documented(room, name).splitlines()]
    assert any(line.startswith(">>>") and "doctest: +SKIP" not in line for line in lines)


@pytest.mark.parametrize("room", ["dim", *ROOMS])
def test_room_says_what_it_is_for(room):
    assert importlib.import_module(room).__doc__
