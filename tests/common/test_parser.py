"""Settings from the command line: valid and invalid arguments, and the help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from dim.common.parser import Parser, UsageError, option
from dim.errors import DIMError


@dataclass(kw_only=True)
class Settings:
    """Settings of every kind."""

    name: str = option("the dataset", positional=True)
    raw: list[Path] = option("files", [])
    weights: list[float] = option("weights", [1.0])
    source: str | None = option("the source", None, aliases=["--from"])
    sentence: str | None = option("a sentence", None, one_of="what")
    input_file: Path | None = option("a file", None, one_of="what")
    span: list[int] = option("offsets", [], nargs=2)
    max_length: int | None = option("tokens", None, least=1)
    rate: float = option("learning rate", 0.1)
    clean: bool = option("drop leaks", False)
    dtype: Literal["float32", "bfloat16"] = option("the type", "float32")
    layout: str = option("how files are laid out", "auto", needs="raw")
    workers: int = option("processes", 2, not_with="clean")


def parse(words, separator="-"):
    return Parser(Settings, separator, prog="dim x").parse(["x", "--sentence", "s", *words.split()])[0]


def test_both_spellings_of_an_option_parse():
    assert parse("--max_length 3").max_length == parse("--max-length 3").max_length == 3
    assert parse("--max-length=3").max_length == 3


def test_an_option_that_needs_another_is_taken_beside_it():
    assert parse("--layout jsonl --raw a").layout == "jsonl"
    assert parse("--layout auto").layout == "auto"
    assert parse("--workers 3").workers == 3


def test_a_list_grows_by_each_use_unless_it_has_a_default():
    assert parse("--raw a b --raw c").raw == [Path("a"), Path("b"), Path("c")]
    assert parse("--weights 1 2 --weights 3").weights == [3.0]
    assert (parse("").raw, parse("").weights) == ([], [1.0])
    assert parse("--span 3 5").span == [3, 5]


@pytest.mark.parametrize("words, clean", [("", False), ("--clean", True), ("--clean true", True), ("--clean=no", False),
                                          ("--clean False", False), ("--clean --dtype bfloat16", True)])  # fmt: skip
def test_a_boolean_needs_no_value(words, clean):
    assert parse(words).clean is clean


def test_a_boolean_before_a_positional_argument():
    [settings] = Parser(Settings).parse(["--clean", "wikimel", "--sentence", "--a dash, and a space"])
    assert (settings.name, settings.clean, settings.sentence) == ("wikimel", True, "--a dash, and a space")


def test_an_alias_replaces_the_name_of_the_field():
    assert parse("--from here").source == "here"
    with pytest.raises(DIMError, match="Unknown option --source"):
        parse("--source here")


@pytest.mark.parametrize(
    "words, message",
    [
        ("--max_lenght 3", r"Unknown option --max_lenght; did you mean --max_length\?"),
        ("--max-lenght=3", r"Unknown option --max-lenght; did you mean --max-length\?"),
        ("--max 3", r"Unknown option --max; did you mean --max_length\?"),
        ("--zzz 3", "Unknown option --zzz; --help lists the options"),
        ("--max-length 0", "--max-length must be at least 1, got 0"),
        ("--rate nan", "--rate must be a finite number, got nan"),
        ("--weights 1 inf", "--weights must be a finite number, got inf"),
        ("--layout jsonl", "--layout does nothing without --raw"),
        ("--workers 3 --clean", "--workers does nothing with --clean"),
    ],
)
def test_what_is_refused_in_one_line(words, message):
    with pytest.raises(DIMError, match=message):
        parse(words)


@pytest.mark.parametrize(
    "words, message",
    [
        ("--dtype int8", "argument --dtype: invalid choice: 'int8'"),
        ("--max-length x", "argument --max-length: invalid int value: 'x'"),
        ("--clean=maybe", "argument --clean: Truthy value expected"),
        ("--input-file f", "argument --input-file: not allowed with argument --sentence"),
        ("another", "unrecognized arguments: another"),
    ],
)
def test_what_argparse_refuses_comes_with_the_usage(words, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(words)
    assert caught.value.usage.startswith("usage: dim x ")


def test_what_is_required():
    with pytest.raises(UsageError, match="one of the arguments --sentence --input-file is required"):
        Parser(Settings).parse(["x"])
    with pytest.raises(UsageError, match="the following arguments are required: name"):
        Parser(Settings).parse(["--sentence", "s"])


@pytest.mark.parametrize("separator, shown, hidden", [("-", "--max-length", "--max_"), ("_", "--max_length", "--max-")])
def test_the_help_shows_each_option_once_and_the_defaults_that_say_something(separator, shown, hidden):
    text = Parser(Settings, separator).format_help().lower()
    assert shown in text
    assert hidden not in text
    assert "--from" in text
    assert "--source" not in text
    assert "(default: float32)" in text
    assert "none" not in text
    assert "(--sentence sentence | --input" in text.replace("\n", " ")
