"""Every public name has a docstring, and what the package exports has an example that runs.

"Exported" is what `dim` and its rooms name in the `__all__` of their `__init__`. The examples run in test_docs.py.
"""

import importlib
import inspect
import pkgutil

import pytest

import dim

ROOMS = sorted(module.name for module in pkgutil.walk_packages(dim.__path__, "dim.") if module.ispkg)
EXPORTED = sorted(
    {(room, name) for room in ["dim", *ROOMS] for name in getattr(importlib.import_module(room), "__all__", [])}
)
# To be emptied, never to grow.
WITHOUT_EXAMPLE = {("dim", "DIMOutput"), ("dim", "DIMProcessor"), ("dim.linking.kb", "Candidates")}


def documented(room: str, name: str) -> str:
    """The docstring of an exported name, with those of a class's own public methods."""
    found = getattr(importlib.import_module(room), name)
    methods = [value for key, value in vars(found).items() if not key.startswith("_")] if inspect.isclass(found) else []
    return "\n".join(inspect.getdoc(part) or "" for part in (found, *methods) if callable(part) or part is found)


def test_something_is_exported():
    assert {("dim", "DIMModel"), ("dim.linking.kb", "KnowledgeBase")} <= set(EXPORTED)


@pytest.mark.parametrize("room, name", EXPORTED)
def test_exported_name_has_a_docstring(room, name):
    found = getattr(importlib.import_module(room), name)
    own = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    assert own, f"{room}.{name} has no docstring"
    assert not own.startswith(f"{name}("), f"{room}.{name}: the docstring is the one that dataclass makes"


@pytest.mark.parametrize("room, name", EXPORTED)
def test_exported_name_has_an_example_that_runs(room, name):
    lines = [line.strip() for line in documented(room, name).splitlines()]
    runs = any(line.startswith(">>>") and "doctest: +SKIP" not in line for line in lines)
    assert runs != ((room, name) in WITHOUT_EXAMPLE), f"{room}.{name}: WITHOUT_EXAMPLE says otherwise"


@pytest.mark.parametrize("room", ["dim", *ROOMS])
def test_room_says_what_it_is_for(room):
    assert importlib.import_module(room).__doc__
