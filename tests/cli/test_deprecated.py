"""Old spellings of options: they work, with a notice, until the version that the table names."""

import pytest

from dim.cli.deprecated import DEPRECATED, new_spelling
from dim.cli.main import COMMANDS, command, main

REST = {
    "caption": ["DATASET", "--out", "out", "--expert", "openai"],
    "enhance": ["SOURCE", "--out", "out.jsonl"],
    "kb refresh": ["KB", "--ids", "Q1", "--llm", "x"],
}


@pytest.mark.parametrize("name, old, new", [row for row in DEPRECATED if row[:2] != ("kb refresh", "--model")])
def test_an_old_spelling_parses_as_the_new_one(name, old, new, caplog):
    assert name in COMMANDS
    expected = vars(command(name, [*REST[name], new, "value"]))
    assert caplog.text == ""
    assert vars(command(name, [*REST[name], old, "value"])) == expected
    assert [record.message for record in caplog.records] == [f"{old} is now {new}; the old spelling goes in 0.3.0."]


def test_the_old_model_of_refresh_is_the_language_model():
    old = command("kb refresh", ["KB", "--ids", "Q1", "--model", "gpt", "--encoder", "demo/model"])
    new = command("kb refresh", ["KB", "--ids", "Q1", "--llm", "gpt", "--model", "demo/model"])
    assert (old.llm, old.model) == ("gpt", "demo/model")
    assert vars(old) == vars(new)
    assert new_spelling("kb encode", ["KB", "--model", "m"]) == ["KB", "--model", "m"]


def test_the_notice_is_one_line_on_stderr(capsys, tmp_path):
    assert main(["enhance", str(tmp_path / "no"), "--out", str(tmp_path / "x.txt"), "--model", "m"]) == 2
    notice, error = capsys.readouterr().err.splitlines()
    assert notice == "warning: --model is now --llm; the old spelling goes in 0.3.0."
    assert error.startswith("dim enhance: ")
