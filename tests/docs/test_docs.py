"""The documentation is correct: its examples run, its links lead to files, its commands exist."""

import ast
import contextlib
import doctest
import importlib
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from doc_blocks import SHELLS, Block, Command, blocks, why_not
from doc_blocks import commands as shell_commands

from dim.cli.main import COMMANDS, command, split
from dim.errors import DIMError
from dim.training.arguments import parse_arguments

pytest_plugins = ("demo_folder",)
ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def listed(pattern: str) -> list[str]:
    """Paths in the repository, relative to its root, that match a regular expression as a whole."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted(name for name in set(names) if re.fullmatch(pattern, name) and (ROOT / name).is_file())


def module_name(path: str) -> str:
    """Dotted name of a file of the package."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


MODULES = [name for name in listed(r"dim/.*\.py") if ">>> " in (ROOT / name).read_text(encoding="utf-8")]
PACKAGES = sorted({name.split("/")[1] if name.count("/") > 1 else "root" for name in MODULES})
PAGES = listed(r".*\.md")
PAGES_OF_THE_SITE = [page for page in PAGES if page.startswith("docs/")]
GUIDES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *PAGES_OF_THE_SITE]
OTHERS = {"gh", "git", "transformers", "twine"}  # programs of others that pages call


def without_fences(text: str) -> str:
    """Markdown less its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("package", PACKAGES)
def test_examples_in_docstrings(package, world, tmp_path, monkeypatch, subtests):
    """Each module's examples run in a new copy of what `make demo` creates."""
    inside = re.compile(r"dim/\w+\.py" if package == "root" else f"dim/{package}/.*")
    for name in filter(inside.fullmatch, MODULES):
        monkeypatch.chdir(shutil.copytree(world, tmp_path / module_name(name), symlinks=True))
        with subtests.test(name), contextlib.redirect_stdout(io.StringIO()) as report:
            failed = doctest.testmod(importlib.import_module(module_name(name)), optionflags=FLAGS).failed
            assert failed == 0, report.getvalue()


def test_relative_links_lead_to_files():
    broken = []
    for name in PAGES:
        text = without_fences((ROOT / name).read_text(encoding="utf-8"))
        targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text)
        targets += re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
        relative = [target.split("#")[0] for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#|//", target)]
        broken += [f"{name}: {target}" for target in relative if not (ROOT / name).parent.joinpath(target).exists()]
    assert broken == []


def parsed_only() -> list[tuple[Block, Command]]:
    """The commands that test_docs_run.py does not run: those that it names, and those of pages outside of the site."""
    of_shells = [(block, command) for page in GUIDES for block in blocks(page, *SHELLS)
                 for command in shell_commands(block)]  # fmt: skip
    outside = {"CONTRIBUTING.md", "SECURITY.md"}
    return [(block, command) for block, command in of_shells if block.page in outside or why_not(command.line)]


def test_commands_parse(subtests):
    for block, one in parsed_only():
        with subtests.test(f"{block.id}-{one.line}"):
            check_command(one.words)


def check_command(words: list[str]) -> None:
    """Reads a command that does not run with the parser of its program; other programs must be listed."""
    program = words[0].removeprefix(".venv/bin/")
    if program == "dim":
        check_dim(words[1:])
    elif program == "accelerate" and words[1] == "launch":
        arguments = launch_command_parser().parse_args(words[2:])
        rest = arguments.training_script_args
        assert arguments.training_script == ("dim" if arguments.module else "train.py")
        check_dim(rest if arguments.module else ["train", *rest])
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(words[1:]) <= set(targets), words
    elif program in {"python", "python3"}:
        check_python(words[1:])
    elif program == "pip":
        check_extras(words)
    else:
        assert program in OTHERS, f"{program} is neither ours nor listed in OTHERS"


def check_dim(words: list[str]) -> None:
    """Parses a command of `dim`, as far as it needs no file."""
    if words[0] == "train":
        config = words[1:2] if not words[1].startswith("-") else []
        if config and (ROOT / config[0]).is_file():
            parse_arguments([str(ROOT / config[0]), *words[2:]])
        else:
            here = ["--dataset", "D", "--output_dir", "O", *([] if "--text_tower" in words else ["--text_tower", "T"])]
            parse_arguments([*here, *words[1 + len(config) :]])
        return
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            command(*split(["1" if word in {"N", "X", "Y"} else word for word in words]))
        except (SystemExit, DIMError) as stop:
            if not isinstance(stop, SystemExit) or stop.code != 0:
                pytest.fail(f"dim {' '.join(words)}: {told.getvalue() or stop}")


def check_python(words: list[str]) -> None:
    """A script exists; a module can be found; what follows `-c` compiles."""
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
    elif words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None
    else:
        assert (ROOT / words[0]).is_file(), words[0]


def check_extras(words: list[str]) -> None:
    """The extras of the package that a page names are there."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = set(re.findall(r"^([a-z]+) = \[", text.partition("\n[")[0], flags=re.MULTILINE))
    for word in words:
        if named := re.fullmatch(r"dim-mel\[([a-z,]+)\]", word):
            assert set(named[1].split(",")) <= extras, word


def test_data_blocks_parse(subtests):
    for block in (block for page in GUIDES for block in blocks(page, "json", "yaml")):
        with subtests.test(block.id):
            if block.language == "yaml":
                yaml.safe_load(block.text)
                continue
            text, decoder = block.text.strip(), json.JSONDecoder()
            while text:  # one object after the other
                _, end = decoder.raw_decode(text)
                text = text[end:].strip()


def test_imports_of_python_blocks_that_do_not_run():
    """What such a block imports from the package exists."""
    missing = []
    for block in (block for page in GUIDES for block in blocks(page, "python") if why_not(block.text)):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dim":
                module = importlib.import_module(node.module)
                missing += [f"{block.id}: {name.name}" for name in node.names if not hasattr(module, name.name)]
    assert missing == []


def test_navigation_of_the_site_names_every_page():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = {f"docs/{page}" for section in site["nav"] for pages in section.values() for page in pages}
    assert named == set(PAGES_OF_THE_SITE)


def test_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "reference" / "linking" / "index.html").read_text(encoding="utf-8")
    assert "DIMLinker" in reference
    assert "Ranks the entities for one mention." in reference
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?:", reference), "asks another server"
    for page in tmp_path.rglob("index.html"):
        text = re.sub(r"<(pre|script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "`" not in text, page


def test_readme_names_every_command():
    """The table of commands and the parser know the same ones."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = {words for row in re.findall(r"^\| `dim ([a-z-]+)", text, flags=re.MULTILINE) for words in [row]}
    assert told == {name for name in COMMANDS if " " not in name}


def test_tree_of_the_readme_is_that_of_the_repository():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [tree] = re.findall(r"^## What is where\n\n```text\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"^([\w.]+/?)", tree, flags=re.MULTILINE))
    files, folders = listed(r"[^/]+\.py"), listed(r"[a-z][^/]*/.*")
    assert told == {*files, *(name.split("/")[0] + "/" for name in folders)}
    inside = set(re.findall(r"^    (\w+/)", tree, flags=re.MULTILINE))
    assert inside == {name.split("/")[1] + "/" for name in listed(r"dim/[^/]+/.*")}
