"""What makes a run: the settings and the content that decide its result, which a checkpoint is compared with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dim.encoding.loading import fingerprint
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.training.banks import TextBank
from dim.training.data import MELData, MentionSide

# What may change between a run and its continuation. The content of models and datasets is compared, not their names.
MAY_CHANGE = frozenset({
    *("model_name_or_path", "text_tower", "vision_tower", "dataset", "output_dir", "overwrite"),
    *("resume_from_checkpoint", "expected_processes", "dataloader_num_workers", "per_device_eval_batch_size"),
    *("num_train_epochs", "max_steps", "eval_epochs", "eval_steps", "early_stopping_patience"),
    *("save_steps", "save_total_limit", "logging_steps", "report_to"),
})  # fmt: skip
_SAMPLE = 1000  # pictures whose pixels are compared
_SHOWN = 4


def settings_of(settings: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """Selects the settings that decide a run's result.

    Args:
        settings: All arguments of the run.
        processes: Number of processes.

    Returns:
        JSON values by name.

    Example:

        >>> settings_of({"seed": 7, "logging_steps": 10}, processes=2)
        {'seed': 7, 'processes': 2}
    """
    kept = {name: value for name, value in settings.items() if name not in MAY_CHANGE}
    return json.loads(json.dumps(kept | {"processes": processes}))


def content_of(data: MELData, start: str) -> dict[str, str]:
    """Computes a digest of each part of the content that a run is trained on.

    Args:
        data: The prepared dataset.
        start: Digest of the model that the run starts from; see [`start_of`].

    Returns:
        Digests by name.
    """
    found = {
        "the model to start from": start,
        "the training mentions": _digest_of_mentions(data.train),
        "the validation mentions": _digest_of_mentions(data.validation),
        "the entities": digest_of([data.entities.ids, data.entities.names, data.entities.aliases],
                                [*_tokens(data.entities.texts), data.entities.pictures]),
    }  # fmt: skip
    if data.pictures is not None:
        pixels = data.pictures.pixels
        some = pixels[:: max(1, len(pixels) // _SAMPLE)]
        found["the pictures"] = digest_of(list(pixels.shape), [some])
    return found


def start_of(model: DIMModel, processor: DIMProcessor) -> str:
    """Computes a digest of the model that a run starts from."""
    return fingerprint(model, processor)


def differences(known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Tells in words how a run differs from the run of a checkpoint; empty if it does not.

    Args:
        known: Settings or content of the checkpoint's run.
        now: The same of this run.

    Example:

        >>> differences({"seed": 0, "tune": "full", "processes": 1}, {"seed": 7, "tune": "full", "processes": 1})
        '--seed is 7, but was 0'
        >>> differences({"the entities": "1f"}, {"the entities": "2e"})
        'the entities have changed'
    """
    found = []
    for name in now:
        before, after = known.get(name), now[name]
        if before == after or name not in known:
            continue
        if name == "processes":
            found.append(f"{after} processes train, but it was {before}")
        elif name.startswith("the "):
            found.append(f"{name} {'has' if 'model' in name else 'have'} changed")
        else:
            found.append(f"--{name} is {_word(after)}, but was {_word(before)}")
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _word(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _digest_of_mentions(side: MentionSide) -> str:
    captions = [] if side.caption_texts is None else _tokens(side.caption_texts)
    return digest_of(
        [side.ids],
        [*_tokens(side.mention_texts), *_tokens(side.sentence_texts), *captions, side.has_caption, side.pictures,
         side.gold, side.candidates],
    )  # fmt: skip


def _tokens(bank: TextBank) -> list[Tensor]:
    return [bank.rows, bank.lengths, bank.flat]


def digest_of(values: Sequence[Any], tensors: Sequence[Tensor]) -> str:
    """Computes a digest of JSON values and of tensors."""
    digest = hashlib.blake2b(json.dumps(values).encode(), digest_size=12)
    for tensor in tensors:
        digest.update(json.dumps(list(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
