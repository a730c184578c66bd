"""Numbers and devices that no command can use: each is refused in one line, before anything is loaded."""

import importlib
import re
from dataclasses import MISSING, Field, fields
from typing import Literal, get_args, get_origin

import pytest

from dim.cli.command import Linking
from dim.cli.link import Link
from dim.cli.main import COMMANDS, main
from dim.common.parser import Parser
from dim.errors import DIMError
from dim.linking.linker import CANDIDATES
from dim.training.arguments import ARGUMENT_GROUPS

NUMBERS = ("-1", "0", "0.5", "1e308", "-1e308", "inf", "-inf", "nan", str(10**30), str(-(10**30)), str(2**32),
           "9" * 5000, "", "x", "0x10", "\u0663")  # fmt: skip


def types(one: Field) -> set[type]:
    """The types of an option's value, without None; of a list, those of its items."""
    kinds = get_args(one.type) or (one.type,)
    return {kind for kind in kinds if kind in (int, float)}


def options() -> list:
    """Every numeric option of every command."""
    found = []
    for name, (place, _) in COMMANDS.items():
        if place:
            module, _, kind = place.partition(":")
            command = getattr(importlib.import_module(f"dim.cli.{module}"), kind)
            groups = ARGUMENT_GROUPS if name == "train" else (command,)
            numbers = (one for group in groups for one in fields(group) if types(one))
            found += [pytest.param(groups, one, id=f"{name}-{one.name}") for one in numbers]
    return found


def words(groups, one: Field, number: str) -> list[str]:
    """A command line with a value for an option, and with what else is required."""
    others, needed = [field for group in groups for field in fields(group)], one.metadata.get("needs")
    chosen = {field.metadata.get("one_of") for field in others if field.name in (one.name, needed)} | {None}
    line: list[str] = []
    for other in others:
        required = other.default is MISSING and other.default_factory is MISSING
        is_first_of_group = other.metadata.get("one_of") not in chosen
        if other.name != one.name and (required or other.name == needed or is_first_of_group):
            chosen.add(other.metadata.get("one_of"))
            flag = [] if other.metadata.get("positional") else [other.metadata.get("aliases", [f"--{other.name}"])[0]]
            line += [*flag, get_args(other.type)[0] if get_origin(other.type) is Literal else "x"]
    if one.metadata.get("positional"):
        return [*line, number]
    flag, count = one.metadata.get("aliases", [f"--{one.name}"])[0], one.metadata.get("nargs", 1)
    return [*line, f"{flag}={number}"] if count == 1 else [*line, flag, *[number] * count]


def tried(parser: Parser, line: list[str]) -> tuple[list, str]:
    """The settings of a command line, and why it was refused."""
    try:
        return parser.parse(line), ""
    except DIMError as error:
        return [], str(error)


@pytest.mark.parametrize("groups, one", options())
def test_a_number_is_used_or_refused_in_one_line(groups, one):
    parser = Parser(groups, prog="dim x")
    name = one.metadata.get("aliases", [one.name.replace("_", "[-_]")])[0]
    for number in NUMBERS:
        found, refusal = tried(parser, words(groups, one, number))
        if refusal:
            assert re.search(
                rf"{name}.* (must be|must lie|invalid|expected)|the following arguments are req", refusal, re.I
            )
            assert "\n" not in refusal
            continue
        value = next(getattr(group, one.name) for group in found if hasattr(group, one.name))
        assert all(-10 <= item <= 10**15 for item in (value if isinstance(value, list) else [value]))


@pytest.mark.parametrize("groups, one", options())
def test_every_number_has_bounds(groups, one):
    assert one.metadata.keys() & {"least", "above"}
    if float in types(one):
        assert one.metadata.keys() & {"most", "below"}


@pytest.mark.parametrize("groups, one", options())
def test_the_default_lies_within_the_bounds(groups, one):
    if isinstance(one.default, int | float):
        parser = Parser(groups, prog="dim x")
        assert parser.parse(words(groups, one, str(one.default)))


def test_the_most_candidates_are_those_of_the_linker():
    (rerank,) = (one for one in fields(Linking) if one.name == "rerank")
    (k,) = (one for one in fields(Link) if one.name == "k")
    assert rerank.metadata["most"] == k.metadata["most"] == CANDIDATES


@pytest.mark.parametrize(
    "line, message",
    [
        ("serve --model x --kb y --timeout 1e308", "--timeout must lie between 0 and 86400, got 1e+308 (0 excluded)"),
        ("serve --model x --kb y --timeout 0", "--timeout must lie between 0 and 86400, got 0.0 (0 excluded)"),
        ("serve --model x --kb y --timeout inf", "--timeout must be a finite number, got inf"),
        ("serve --model x --kb y --port 65536", "--port must lie between 0 and 65535, got 65536"),
        ("train --text_tower x --dataset y --output_dir z --seed 4294967296", "--seed must be at most 4294967295"),
        ("train --text_tower x --dataset y --output_dir z --dropout nan", "--dropout must be a finite number"),
        ("enhance x --llm y --out z.jsonl --temperature nan", "--temperature must be a finite number"),
        ("enhance x --llm y --out z.jsonl --max-cost -1", "--max-cost must lie between 0 and 1000000000.0, got -1.0"),
        ("kb restore x 0", "version must be at least 1, got 0"),
        ("calibrate --model x --kb y --dataset z --nil-share 1", "--nil-share must lie between 0 and 1, got 1.0"),
    ],
)
def test_the_line_says_what_is_valid(line, message, capsys):
    assert main(line.split()) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


DEVICES = ("cuda:99", "mps", "nonsense", "", "meta", "hpu", "privateuseone", "opengl", "cuda:-1", "cpu:x", " cpu")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("line", [["link", "--sentence", "[[a]]"], ["kb", "create", "x", "--from", "y"]])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_device_that_cannot_compute_is_refused_before_the_model_is_loaded(line, device, capsys):
    assert main([*line, "--model", "./nothing", f"--device={device}"]) == 2
    err = capsys.readouterr().err
    assert " ".join(f"--device {device} is not available:".split()) in err
    assert err.count("\n") == 1
    assert len(err) < 300
