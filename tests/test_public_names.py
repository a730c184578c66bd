"""The names that users import: `from dim import ...`, each loaded when it is first used."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import blocks

import dim

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("datasets", "evaluate", "fastapi", "gradio", "lancedb", "mcp", "openai", "peft", "sklearn", "spacy")
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def test_every_public_name_resolves():
    assert [name for name in dim.__all__ if not hasattr(dim, name)] == []
    assert set(dim.__all__) <= set(dir(dim))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="attribute DIMUnknown"):
        dim.DIMUnknown  # noqa: B018


def test_stub_exports_what_it_imports():
    """`__init__.pyi` is what type checkers read and what is loaded."""
    tree = ast.parse(Path(dim.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    [exported] = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
    assert set(exported) == imported == set(dim.__all__)


def test_import_dim_is_light():
    """In a fresh process: no optional library, and none that only other folders of the package need."""
    code = f"import dim, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout.split() == []


def python_sources() -> list[tuple[str, str]]:
    """Position and text of all Python that users read: blocks of the documentation, and examples."""
    examples = sorted((ROOT / "examples").glob("*.py"))
    shown = [(block.id, block.text) for page in PAGES for block in blocks(page, "python")]
    return [*shown, *((f"examples/{path.name}", path.read_text(encoding="utf-8")) for path in examples)]


def test_documentation_imports_public_names_from_dim():
    """A name that `dim` has is imported from there, not from the module that defines it."""
    found = []
    for where, text in python_sources():
        for module, names in re.findall(r"^(?:>>> )?\s*from (dim\.[\w.]+) import (.+)$", text, flags=re.MULTILINE):
            found += [f"{where}: {module}.{name}" for name in names.split(", ") if name in dim.__all__]
    assert found == []
