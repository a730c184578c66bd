"""Every command: its help imports nothing heavy, and the README's table names it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dim
from dim.cli.main import COMMANDS, command, main, split

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "transformers", "datasets", "lancedb", "fastapi", "numpy", "pyarrow", "PIL", "huggingface_hub"]
CODE = f"""
import contextlib, io, json, sys
sys.argv[0] = "dim"
from dim.cli.main import COMMANDS, main
loaded = {{}}
for name in ["", *COMMANDS]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*name.split(), "--help"])
    loaded[name] = [out.getvalue().startswith(f"usage: dim {{name}}".rstrip()), *(set({HEAVY}) & set(sys.modules))]
print(json.dumps(loaded))
"""


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [True] for name in ["", *COMMANDS]}


def test_the_readme_lists_the_commands():
    rows = re.findall(r"^\| `dim ([a-z-]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(name for name in COMMANDS if " " not in name)
    for name in rows:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"dim {dim.__version__}\n"


@pytest.mark.parametrize(
    "words, line",
    [
        (["evla"], "dim: Unknown command evla; did you mean eval?"),
        (["fly"], "dim: Unknown command fly; --help lists the commands."),
        (["kb", "creat"], "dim kb: Unknown command creat; did you mean create?"),
    ],
)
def test_an_unknown_command_is_one_line_and_exit_code_2(words, line, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("words", [[], ["kb"], ["--fly"]])
def test_no_command_is_a_usage_error(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "usage: dim" in capsys.readouterr().err


def test_an_unknown_option_is_one_line_and_exit_code_2(capsys):
    assert main(["train", "--learning_rat", "1"]) == 2
    assert capsys.readouterr().err == "dim train: Unknown option --learning_rat; did you mean --learning_rate?\n"
    assert main(["eval", "--dataset", "x", "--outt", "y"]) == 2
    assert capsys.readouterr().err == "dim eval: Unknown option --outt; did you mean --out?\n"


def test_files_of_a_release_in_one_option_or_several():
    for words in (["--raw", "a", "b"], ["--raw", "a", "--raw", "b"]):
        made = command(*split(["build", "wikimel", *words, "--out", "out"]))
        assert made.raw == [Path("a"), Path("b")]


@pytest.mark.parametrize(
    "words, refused",
    [
        ("link --model m --sentence [[a]] --output x.jsonl", "--output does nothing without --input"),
        ("link --model m --sentence [[a]] --batch-size 8", "--batch-size does nothing without --input"),
        ("link --model m --input x.jsonl --why", "--why does nothing with --input"),
        ("link --model m --input x.jsonl --image a.png", "--image does nothing with --input"),
        ("link --model m --input x.jsonl --sentence [[a]]", "--sentence does nothing with --input"),
        ("link --model m --sentence [[a]] --region 0 0 9 9", "--region does nothing without --image"),
        ("link --model m --mention a --span 0 1", "--span does nothing without --sentence"),
        ("kb create k --from x.jsonl --workers 2", "--workers does nothing without --model"),
        ("kb add k --from x.jsonl --device cpu", "--device does nothing without --model"),
        ("kb refresh k --llm l --ids a --dtype float16", "--dtype does nothing without --model"),
        ("kb refresh k --llm l --ids a --batch --concurrency 2", "--concurrency does nothing with --batch"),
        ("enhance k --llm l --out x.jsonl --batch --concurrency 2", "--concurrency does nothing with --batch"),
        ("inspect data --seed 3", "--seed does nothing without --sheet"),
        ("audit data --layout jsonl", "--layout does nothing without --raw"),
        ("eval --dataset d --out o --baselines bm25 --text-tower t", "--text-tower does nothing without the baseline"),
        (
            "eval --dataset d --out o --model m --baselines none --towers t",
            "--towers does nothing without the baseline picture",
        ),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words, refused, capsys):
    assert main(words.split()) == 2
    line = capsys.readouterr().err
    assert refused in line
    assert line.count("\n") == 1
