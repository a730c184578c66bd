"""What the documentation says is so: its examples run, its links lead somewhere, its commands exist."""

import contextlib
import doctest
import importlib
import io
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def listed(pattern: str) -> list[str]:
    """Paths in the repository, relative to its root, that match a regular expression as a whole."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted(name for name in set(names) if re.fullmatch(pattern, name) and (ROOT / name).is_file())


def module_name(path: str) -> str:
    """Dotted name of a file of the package."""
    return ("dim." + path.removesuffix(".py").replace("/", ".")).removesuffix(".__init__")


ROOMS = {name.split("/")[0] for name in listed(r"[^/]+/__init__\.py")}
MODULES = listed(rf"(?!setup\.py)[^/]+\.py|({'|'.join(ROOMS)})/.*\.py")
PAGES = listed(r".*\.md")


def without_fences(text: str) -> str:
    """Markdown less its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> set[tuple[str, ...]]:
    """What README.md tells its reader to run: the plain words after `program`, in shell fences and code spans."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(?:bash|sh|shell|console|text)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    code = "\n".join([*fences, *re.findall(r"`([^`\n]+)`", without_fences(text))])
    found = re.findall(rf"(?:^|[;&|$] *){program}((?: +[a-z][a-z-]*(?=\s|$))+)", code, flags=re.MULTILINE)
    return {tuple(words.split()) for words in found}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    """`doctest.testmod` on the imported module: pytest's own collection would import the root a second time."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(module_name(name))
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        failed = doctest.testmod(module, optionflags=FLAGS).failed
    assert failed == 0, report.getvalue()


@pytest.mark.parametrize("name", [page for page in PAGES if page == "README.md" or page.startswith("docs/")])
def test_examples_in_markdown(name, tmp_path, monkeypatch):
    """The ```python blocks with prompts run from top to bottom in one namespace; the others are read as text."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    names: dict[str, object] = {"__name__": "__main__"}
    report = io.StringIO()
    for block in blocks:
        line = text[: block.start(1)].count("\n")
        if not re.search(r"^>>> ", block[1], flags=re.MULTILINE):
            compile(block[1], f"{name}:{line}", "exec")
            continue
        example = doctest.DocTestParser().get_doctest(block[1], names, name, name, line)
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        failed = runner.run(example, out=report.write, clear_globs=False).failed
        names = example.globs
        assert failed == 0, report.getvalue()


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_lead_to_files(name):
    text = without_fences((ROOT / name).read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text)
    targets += re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    relative = [target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#|//", target)]
    broken = [target for target in relative if not (ROOT / name).parent.joinpath(target.split("#")[0]).exists()]
    assert broken == []


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {target for words in commands("make") for target in words} <= targets


def test_commands_of_the_readme_exist():
    from dim import cli

    for words in sorted({command[:2] for command in commands("dim")}):  # `dim train`, `dim kb create`
        with pytest.raises(SystemExit) as stop, contextlib.redirect_stdout(io.StringIO()):
            cli.main([*words, "--help"])
        assert stop.value.code == 0, f"`dim {' '.join(words)}` does not exist"
