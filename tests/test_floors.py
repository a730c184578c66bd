"""The floors of the package: no package imports one above it, not even lazily."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dim"
FLOORS = (
    "hub",  # the Hub files, and dim.errors, which names their errors
    "common",
    "metrics",
    "encoding",
    "search",
    "corpora",
    "kb",
    "linking",
    "enhancement",
    "experts",
    "training",
    "evaluation",
    "serving",
    "integrations",
    "publishing",
    "cli",
)
ALLOWED = {
    "hub": set(),
    "common": {"hub"},
    "metrics": {"hub", "common"},
    "encoding": {"hub", "common"},
    "search": {"hub"},
    "corpora": {"hub", "common", "metrics", "search"},
    "kb": {"hub", "common", "encoding", "search", "corpora"},
    "linking": {"hub", "common", "metrics", "encoding", "search", "kb"},
    "enhancement": {"hub", "common", "corpora", "kb"},
    "experts": {"hub", "common", "corpora", "enhancement"},
    "training": {"hub", "common", "metrics", "encoding", "corpora", "linking"},
    "evaluation": {"hub", "common", "metrics", "encoding", "corpora", "training"},
    "serving": {"hub", "common", "encoding", "corpora", "kb", "linking"},
    "integrations": {"linking"},
    "publishing": {"hub", "common", "encoding", "kb", "linking"},
    "cli": set(FLOORS) - {"cli"},
}


def floor(module: str) -> str:
    """The floor of a module `dim.x.y`; "" for the root modules that belong to none."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in {"auto_classes", "assets"}:
        return ""
    if parts[1].endswith("_dim") or parts[1] == "errors":
        return "hub"
    return "cli" if parts[1] == "__main__" else parts[1]


def imported(path: Path) -> list[tuple[int, str]]:
    """Line and module of every import from the package, including those in functions and under `TYPE_CHECKING`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [(node.lineno, f"{node.module}.{name.name}") for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ["dim", *path.relative_to(PACKAGE).parts][: -node.level]
            found += [
                (node.lineno, ".".join([*base, *([node.module] if node.module else []), a.name])) for a in node.names
            ]
    return [(line, module) for line, module in found if module.split(".")[0] == "dim"]


def modules() -> dict[str, Path]:
    """Files of the package by dotted name."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def test_tables_agree():
    assert set(ALLOWED) == set(FLOORS)
    for name, below in ALLOWED.items():
        assert all(FLOORS.index(other) < FLOORS.index(name) for other in below), name
    assert {floor(name) for name in modules()} - {""} == set(FLOORS)


def test_no_package_imports_one_above_it():
    wrong, used = [], {name: set() for name in FLOORS}
    for name, path in modules().items():
        here = floor(name)
        for line, target in imported(path) if here else []:
            there = floor(target)
            if there in ("", here):
                continue
            used[here].add(there)
            if there not in ALLOWED[here]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
    assert wrong == []
    assert {name: ALLOWED[name] - used[name] for name in FLOORS[:-1] if ALLOWED[name] - used[name]} == {}
