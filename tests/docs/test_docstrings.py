"""Every public name has a docstring with an example that runs.

Public names are those that the pages of `docs/reference` show, and those in `__all__` of `dim` and its packages. The
example is in the name's own docstring or, for a class, in that of a public method. test_docs.py runs the examples;
interrogate checks that all other names have a docstring.
"""

import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import yaml

import dim

REFERENCE = sorted((Path(__file__).resolve().parents[2] / "docs" / "reference").glob("*.md"))
PACKAGES = sorted(module.name for module in pkgutil.walk_packages(dim.__path__, "dim.") if module.ispkg)


def shown(page: str) -> set[tuple[str, str]]:
    """Modules and names that a page of the reference shows: `:::` and a path, with `members` indented below it."""
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


EXPORTED = {
    (package, name)
    for package in ["dim", *PACKAGES]
    for name in getattr(importlib.import_module(package), "__all__", [])
}
PUBLIC = sorted(EXPORTED.union(*(shown(page.read_text(encoding="utf-8")) for page in REFERENCE)))


def documented(package: str, name: str) -> str:
    """The docstring of a public name, with those of a class's own public methods."""
    found = getattr(importlib.import_module(package), name)
    kinds = (types.FunctionType, property, classmethod, staticmethod)
    own = [value for key, value in vars(found).items() if not key.startswith("_")] if inspect.isclass(found) else []
    return "\n".join(inspect.getdoc(part) or "" for part in (found, *(part for part in own if isinstance(part, kinds))))


def test_what_is_public():
    assert {("dim", "DIMModel"), ("dim.kb", "KnowledgeBase"), ("dim.training.trainer", "train")} <= set(PUBLIC)


def test_members_of_a_module_are_those_named():
    page = "# A\n\n::: dim.corpora.loading\n    options:\n      members: [load_mentions]\n\n::: dim.DIMModel\n"
    assert shown(page) == {("dim.corpora.loading", "load_mentions"), ("dim", "DIMModel")}
    assert len(shown("::: dim.corpora.loading\n")) > 1


def test_public_names_have_a_docstring():
    found = {(package, name): getattr(importlib.import_module(package), name) for package, name in PUBLIC}
    own = {key: vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__ for key, value in found.items()}
    assert [key for key, text in own.items() if not text] == []
    assert [key for key, text in own.items() if text.startswith(f"{key[1]}(")] == [], "written by dataclass"


def test_public_names_have_an_example_that_runs():
    def runs(line: str) -> bool:
        return line.strip().startswith(">>>") and "doctest: +SKIP" not in line

    assert [key for key in PUBLIC if not any(map(runs, documented(*key).splitlines()))] == []


def test_packages_have_a_docstring():
    assert [package for package in ["dim", *PACKAGES] if not importlib.import_module(package).__doc__] == []
