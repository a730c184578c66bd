"""Ablations: trains one model for each row of a table and ranks them all in the same way."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dim.common.files import remove_folder, scratch_folder, write_json
from dim.errors import DIMError
from dim.evaluation.report import cell
from dim.evaluation.run import Settings, evaluate
from dim.training.arguments import parse_arguments
from dim.training.interruption import StoppedError

RESULT = "ablation.json"
"""File in the folder of each row: its settings, written before training, and its metrics, written last."""
_KEYS: dict[str, type] = {"base": dict, "rows": list, "output_dir": str, "protocols": list, "samples": int}
_ROW_KEYS: dict[str, type] = {"name": str, "arguments": dict, "model": dict}
_KINDS = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number"}
_CONFIG_FIELDS = ("fusion", "mention_modalities", "entity_pictures")
_MODEL_FIELDS = (*_CONFIG_FIELDS, "entity_template")
_TOWER_ARGUMENTS = ("text_tower", "vision_tower", "max_length", "dropout", "logit_scale_init_value", "lexical_prior")


class TrainingError(DIMError):
    """The training of a row was refused, failed or stopped.

    Args:
        message: One line.
        exit_code: The exit code of `dim train`, which is that of `dim ablate`, too.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        name: Name of the row.
        arguments: Training arguments that differ from the base.
        model: Settings of the new model that are not training arguments: `fusion`, `mention_modalities`,
            `entity_pictures` of its configuration, `entity_template` of its processor.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ablation:
    """An ablation, as defined in its file.

    Args:
        base: Training arguments of every row.
        rows: The rows.
        output_dir: Folder of the models and the table.
        protocols: Protocols to rank under.
        samples: Number of bootstrap samples.
    """

    base: dict[str, Any]
    rows: tuple[Row, ...]
    output_dir: Path
    protocols: tuple[str, ...] = ("full_kb",)
    samples: int = 1000


def read_ablation(path: Path) -> Ablation:
    """Reads an ablation and checks it, including the training arguments of every row.

    Args:
        path: An existing YAML file.

    Returns:
        The ablation.

    Raises:
        DIMError: If the file is not valid YAML, a key is unknown or missing, a value is of another type or out of
            range, two rows have the same name, or the training arguments of a row are wrong (the message names it).
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DIMError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not {"base", "rows", "output_dir"} <= values.keys() <= _KEYS.keys():
        raise DIMError(f"{path} must have the keys base, rows and output_dir, and may have protocols and samples.")
    _check_kinds(f"{path}", values, _KEYS)
    rows = []
    for number, row in enumerate(values["rows"], 1):
        if not isinstance(row, dict) or "name" not in row or not row.keys() <= _ROW_KEYS.keys():
            raise DIMError(f"{path}: row {number} must have a name, and may have arguments and model.")
        _check_kinds(f"{path}: row {number}", row, _ROW_KEYS)
        unknown = row.get("model", {}).keys() - set(_MODEL_FIELDS)
        if unknown:
            raise DIMError(
                f"{path}: row {row['name']!r}: model knows {', '.join(_MODEL_FIELDS)}, got {sorted(unknown)[0]!r}."
            )
        rows.append(Row(row["name"], row.get("arguments", {}), row.get("model", {})))
    if len({slug(row.name) for row in rows}) < len(rows) or not rows:
        raise DIMError(f"{path}: rows need different names, and there must be at least one row.")
    ablation = Ablation(
        values["base"], tuple(rows), Path(values["output_dir"]),
        tuple(values.get("protocols", ("full_kb",))), values.get("samples", 1000),
    )  # fmt: skip
    for row in rows:
        try:
            model, _, _ = parse_arguments(flags(arguments_of(ablation, row)))
            _settings(arguments_of(ablation, row), ablation)
        except ValueError as error:  # ours, and those of TrainingArguments
            raise DIMError(f"{path}: row {row.name!r}: {error}") from error
        if row.model and model.text_tower is None:
            raise DIMError(f"{path}: row {row.name!r}: `model` needs a new model: give text_tower in its arguments.")
    return ablation


def _check_kinds(place: str, values: dict[str, Any], kinds: dict[str, type]) -> None:
    for name, value in values.items():
        if not isinstance(value, kinds[name]):
            raise DIMError(f"{place}: {name} must be {_KINDS[kinds[name]]}, got {value!r}.")


def slug(name: str) -> str:
    """Converts a name to the name of a folder.

    Args:
        name: Any name.

    Returns:
        Letters, digits and hyphens.

    Example:
        >>> slug("+ picture, sum")
        'picture-sum'
    """
    letters = "".join(letter if letter.isalnum() else " " for letter in name.lower())
    return "-".join(letters.split())


def arguments_of(ablation: Ablation, row: Row) -> dict[str, Any]:
    """Returns the training arguments of a row: those of the base and its own, with its folder, resuming if possible.

    Args:
        ablation: The ablation.
        row: One of its rows.

    Returns:
        Values by name.
    """
    folder = str(ablation.output_dir / slug(row.name))
    values = {"resume_from_checkpoint": "auto", **ablation.base, **row.arguments, "output_dir": folder}
    return {name: value for name, value in values.items() if value is not None}


def flags(values: dict[str, Any]) -> list[str]:
    """Converts training arguments to flags of `train.py`.

    Args:
        values: Values by name.

    Returns:
        The flags.

    Example:
        >>> flags({"seed": 7, "report_to": ["none"]})
        ['--seed', '7', '--report_to', 'none']
    """
    found: list[str] = []
    for name, value in values.items():
        found += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return found


def ablate(ablation: Ablation, train: Callable[[list[str]], None], progress: bool = False) -> list[dict[str, Any]]:
    """Trains and ranks every row; finished rows are skipped, and an interrupted training is resumed.

    Args:
        ablation: The ablation.
        train: Trains by flags, and raises the errors of [`dim.training.loop.train`].
        progress: Whether to show progress bars.

    Returns:
        For each row its name, its training arguments and its metrics by protocol.

    Raises:
        DIMError: If ranking fails, or the folder of a row holds other files.
        TrainingError: If the training of a row is refused, fails or stops. Its folder stays if there is something to
            resume.
    """
    folders = [ablation.output_dir / slug(row.name) for row in ablation.rows]
    for folder in folders:
        if folder.exists() and any(folder.iterdir()) and not (folder / RESULT).is_file():
            raise DIMError(f"{folder} holds other files, not a row of this ablation: choose another output_dir.")
    return [_row(ablation, row, folder, train, progress) for row, folder in zip(ablation.rows, folders, strict=True)]


def _row(
    ablation: Ablation, row: Row, folder: Path, train: Callable[[list[str]], None], progress: bool
) -> dict[str, Any]:
    values = arguments_of(ablation, row)
    asked = {"name": row.name, "arguments": values, "model": row.model}
    ranked = {"protocols": list(ablation.protocols), "samples": ablation.samples}
    known = json.loads((folder / RESULT).read_text(encoding="utf-8")) if (folder / RESULT).is_file() else {}
    if {name: known.get(name) for name in asked} != asked:  # else training would resume with the old settings
        remove_folder(folder)
        folder.mkdir(parents=True)
        write_json(folder / RESULT, asked)
        known = {}
    if "metrics" not in known:
        _train(row, folder, values, train)
    elif {name: known[name] for name in ranked} == ranked:
        return known
    metrics = evaluate(_settings(values, ablation, progress)).numbers["systems"][0]["metrics"]
    found = asked | ranked | {"metrics": metrics}
    write_json(folder / RESULT, found)
    return found


def _train(row: Row, folder: Path, values: dict[str, Any], train: Callable[[list[str]], None]) -> None:
    """Trains a row; a folder without anything to resume is removed."""
    try:
        train(flags(_from_new_model(values, row) if row.model else values))
    except StoppedError as error:
        message = f"the training of row {row.name!r} was stopped; run it again to resume."
        raise TrainingError(message, error.exit_code) from error
    except Exception as error:
        if not any(folder.glob("checkpoint-*")) and not (folder / "model.safetensors").exists():
            remove_folder(folder)
        if not isinstance(error, DIMError | FloatingPointError):
            raise
        code = 1 if isinstance(error, FloatingPointError) else getattr(error, "exit_code", 2)
        raise TrainingError(f"row {row.name!r}: {error}", code) from error


def _settings(values: dict[str, Any], ablation: Ablation, progress: bool = False) -> Settings:
    """How the model of a row is ranked."""
    _, data, train = parse_arguments(flags(values))
    return Settings(
        dataset=str(data.dataset), model=values["output_dir"], protocols=ablation.protocols, baselines=(), slices=(),
        examples=0, samples=ablation.samples, batch_size=train.per_device_eval_batch_size, progress=progress,
    )  # fmt: skip


def _from_new_model(values: dict[str, Any], row: Row) -> dict[str, Any]:
    """Writes the untrained model of a row, and returns the arguments that start from it."""
    import torch

    from dim.configuration_dim import DIMConfig
    from dim.modeling_dim import DIMModel
    from dim.training.model import load_model

    arguments, _, train = parse_arguments(flags(values))
    torch.manual_seed(train.seed)
    source, processor = load_model(arguments)
    fields = {**source.config.to_dict(), **{name: value for name, value in row.model.items() if name in _CONFIG_FIELDS}}
    if not fields["entity_pictures"] and "picture" not in fields["mention_modalities"]:
        fields["vision_config"] = None
    model = DIMModel(DIMConfig(**fields))
    weights = source.state_dict()
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    processor.entity_template = row.model.get("entity_template", processor.entity_template)
    folder = Path(values["output_dir"]) / "start"
    with scratch_folder(folder, folder):
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    others = {name: value for name, value in values.items() if name not in _TOWER_ARGUMENTS}
    return others | {"model_name_or_path": str(folder)}


def ablation_markdown(table: list[dict[str, Any]]) -> str:
    """Formats the table as Markdown, with a section for each protocol.

    Args:
        table: From [`ablate`].

    Returns:
        The text.
    """
    lines = ["# Ablation", ""]
    for protocol in table[0]["protocols"]:
        names = ("H@1", "H@3", "H@5", "H@10", "H@20", "MRR")
        lines += [f"## Protocol `{protocol}`", "", "| | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
        for row in table:
            metrics = row["metrics"][protocol]
            cells = [f"{metrics[n]['value']:.1f} [{metrics[n]['low']:.1f}, {metrics[n]['high']:.1f}]" for n in names]
            lines.append(f"| {cell(row['name'])} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
