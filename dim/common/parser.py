"""Command-line settings: dataclasses parsed by transformers' `HfArgumentParser`."""

import argparse
import copy
import difflib
import importlib.util
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin

from dim.errors import DIMError

if TYPE_CHECKING:
    from transformers import HfArgumentParser
else:
    # Loads this file alone, in milliseconds; `import transformers` takes most of a second and is not needed for it.
    _folders = importlib.util.find_spec("transformers").submodule_search_locations
    _spec = importlib.util.spec_from_file_location("_hf_argparser", Path(_folders[0], "hf_argparser.py"))
    _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
    HfArgumentParser = _module.HfArgumentParser

MOST = 2**32 - 1  # of a whole number without an upper bound of its own; random generators take no larger seed
_BOUNDS = {"least": operator.ge, "above": operator.gt, "most": operator.le, "below": operator.lt}
_TRUTH = {"yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"}  # as HfArgumentParser reads them


def option(text: str, default: Any = MISSING, **metadata: Any) -> Any:
    """Declares a field of a settings dataclass.

    Args:
        text: Help text.
        default: Default value; without one, the option is required.
        metadata: `positional=True` for an argument without a flag; the bounds of a number, `least` or `above`, and
            `most` or `below` (`above` and `below` are not valid themselves); `needs`, the option without which this one
            does nothing, and `not_with`, the one beside which it does nothing; `one_of`, the name of a group of which
            exactly one option must be given; `aliases`, flags that replace the one derived from the field's name; and
            arguments of `argparse.ArgumentParser.add_argument`.

    Returns:
        The field.

    Example:

        >>> from dataclasses import dataclass
        >>> @dataclass(kw_only=True)
        ... class Settings:
        ...     name: str = option("the dataset", positional=True)
        ...     batch_size: int = option("rows at a time", 64, least=1)
        >>> Parser(Settings, prog="build").parse(["wikimel", "--batch_size", "8"])
        [Settings(name='wikimel', batch_size=8)]
    """
    metadata["help"] = text
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggests the known name that is nearest to an unknown one, as the end of an error message.

    Args:
        word: The unknown name.
        known: The known names.

    Returns:
        A clause; empty if no known name is near.

    Example:

        >>> did_you_mean("evla", ["eval", "train"])
        '; did you mean eval?'
        >>> did_you_mean("fly", ["eval", "train"])
        ''
    """
    known = list(known)
    near = [name for name in known if name.startswith(word)] or difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


class UsageError(DIMError):
    """Arguments that argparse cannot parse.

    Args:
        message: What is wrong.
        usage: The usage of the command.
    """

    def __init__(self, message: str, usage: str):
        super().__init__(message)
        self.usage = usage


class Parser(HfArgumentParser):
    """`HfArgumentParser` with positional arguments, bounds and errors that name the nearest option.

    Options are spelt `--max_length` or `--max-length`, in full. A list option without a default can be repeated, and
    appends. A boolean is given as `--clean`, `--clean true` or `--clean false`, also before a positional argument.

    Args:
        dataclass_types: One or several dataclasses of settings.
        separator: Separator that the help shows, `-` or `_`.
        options: Arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, dataclass_types: Any, separator: str = "-", **options: Any):
        self._hidden = "_" if separator == "-" else "-"
        self._one_of: dict[str, Any] = {}
        super().__init__(dataclass_types, allow_abbrev=False, formatter_class=_Help, **options)
        self._optionals._group_actions.sort(key=lambda one: (one.dest != "help", not one.required))  # order in the help

    def _parse_dataclass_field(self, parser: Any, field: Field) -> None:
        field, metadata = copy.copy(field), dict(field.metadata)
        for name in (*_BOUNDS, "needs", "not_with"):
            metadata.pop(name, None)
        is_list = get_origin(field.type) is list
        if metadata.pop("positional", False):
            kind = {"type": get_args(field.type)[0], "nargs": "*"} if is_list else {"type": field.type}
            parser.add_argument(field.name, **kind, **metadata)
            return
        if "one_of" in metadata:
            name = metadata.pop("one_of")
            group = self._one_of.get(name) or parser.add_mutually_exclusive_group(required=True)
            parser = self._one_of[name] = group
        if is_list and (field.default_factory is MISSING or not field.default_factory()):
            metadata["action"] = "extend"
        names = metadata.pop("metavar") if isinstance(metadata.get("metavar"), tuple) else None
        field.metadata = metadata  # type: ignore[assignment]
        super()._parse_dataclass_field(parser, field)
        action = self._option_string_actions[f"--{field.name}"]
        action.nargs = metadata.get("nargs", action.nargs)  # HfArgumentParser sets its own for lists
        action.metavar = names or action.metavar  # argparse compares their number with `nargs`
        if action.const is True:
            action.metavar = "true|false"
        shown = metadata.get("aliases") or [name for name in action.option_strings if self._hidden not in name[2:]]
        for name in set(action.option_strings) - set(shown) if "aliases" in metadata else ():
            del self._option_string_actions[name]
        action.option_strings = shown  # both spellings parse; help and errors show one

    def error(self, message: str) -> NoReturn:
        """Raises a `UsageError`; argparse calls this."""
        raise UsageError(message, self.format_usage())

    def parse(self, argv: Sequence[str]) -> list[Any]:
        """Parses arguments.

        Args:
            argv: The arguments.

        Returns:
            One settings object for each dataclass.

        Raises:
            DIMError: For an unknown option, one that would do nothing, or a number out of its bounds or not finite.
            UsageError: For errors that argparse itself detects.
        """
        *found, rest = self.parse_args_into_dataclasses(
            self._words(argv), return_remaining_strings=True, look_for_args_file=False
        )
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        flags = {action.dest: (action.option_strings or [action.dest])[0] for action in self._actions}
        for settings in found:
            for one in fields(settings):
                _check(settings, one, flags)
        return found

    def _words(self, argv: Sequence[str]) -> list[str]:
        """Refuses unknown options, and turns a `--clean` without a value into `--clean=true`."""
        words = list(argv)
        for index, word in enumerate(words):
            name, equals, _ = word.partition("=")
            if not name.startswith("--") or " " in name:
                continue
            if name == "--":
                break
            action = self._option_string_actions.get(name)
            if action is None:
                near = did_you_mean(name, self._option_string_actions)
                raise DIMError(f"Unknown option {name}{near or '; --help lists the options.'}")
            if action.const is True and not equals and not set(map(str.lower, words[index + 1 : index + 2])) & _TRUTH:
                words[index] = f"{name}=true"
        return words


def _check(settings: Any, one: Field, flags: dict[str, str]) -> None:
    """Refuses a value that is out of range, or given where it does nothing."""
    value, flag, metadata = getattr(settings, one.name), flags[one.name], one.metadata
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int | float) and not isinstance(number, bool):
            _check_number(flag, number, metadata)
    if value == (one.default_factory() if one.default_factory is not MISSING else one.default):
        return
    for name, is_given, word in (("needs", False, "without"), ("not_with", True, "with")):
        other = metadata.get(name)
        if other is not None and (getattr(settings, other) not in (None, False, [])) is is_given:
            raise DIMError(f"{flag} does nothing {word} {flags[other]}.")


def _check_number(flag: str, number: float, metadata: Mapping[str, Any]) -> None:
    """Refuses a number that is not finite or out of its bounds."""
    if not math.isfinite(number):
        raise DIMError(f"{flag} must be a finite number, got {number}.")
    bounds = {name: metadata[name] for name in _BOUNDS if name in metadata}
    if all(_BOUNDS[name](number, bound) for name, bound in bounds.items()):
        if isinstance(number, float) or bounds.keys() & {"most", "below"} or abs(number) <= MOST:
            return
        bounds = {"most": MOST} if number > 0 else {"least": -MOST}
    if len(bounds) == 2:
        low, high = bounds.values()
        out = " and ".join(str(bounds[name]) for name in ("above", "below") if name in bounds)
        raise DIMError(f"{flag} must lie between {low} and {high}, got {number}{f' ({out} excluded)' if out else ''}.")
    words = {"least": "at least", "above": "above", "most": "at most", "below": "below"}
    for name, bound in bounds.items():
        raise DIMError(f"{flag} must be {words[name]} {bound}, got {number}.")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows all defaults except None, False and the empty list."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = not (action.default is None or action.default is False or action.default == [])
        return super()._get_help_string(action) if shown else action.help
