# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Towers of DIM: any text or vision encoder of transformers, how it is built, tried out and pooled."""

import inspect
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_dim import tower_width
from .errors_dim import DIMError

_INPUTS = {"text": "input_ids", "vision": "pixel_values"}
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding", "cls_embedding")
_SMALL_PICTURE = 64  # pixels, for a tower that takes pictures of any size
_TRIED_TOKENS = 4
_WINDOWS = ("sliding_window", "local_attention", "attention_window", "attention_chunk_size")
_square_masks: WeakKeyDictionary[PreTrainedModel, tuple[str, bool | None]] = WeakKeyDictionary()  # by tower
# Fields that a tower needs to encode a whole picture: ViT-MAE hides patches at random, in evaluation, too.
_FIELDS = {"vit_mae": {"mask_ratio": 0.0}}


def tower_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Returns the class of transformers for a tower's config: an encoder, or the encoder of an encoder-decoder."""
    encoder = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
    if encoder is not None and encoder.__name__.endswith("EncoderModel"):  # of T5
        return encoder
    if config.is_encoder_decoder:
        raise DIMError(f"{config.model_type!r} is an encoder with a decoder; choose a model that is an encoder.")
    by_name = type(config).__name__.removesuffix("Config") + "Model"  # AutoModel does not know SiglipTextModel
    found = MODEL_MAPPING.get(type(config), None) or getattr(transformers, by_name, None)
    if not isinstance(found, type):
        raise DIMError(f"transformers has no encoder for the tower config of type {config.model_type!r}.")
    return found


def build_tower(config: PreTrainedConfig, pooling: str, side: str) -> PreTrainedModel:
    """Builds an untrained tower, without its own pooler if DIM does not use it, so that no weight is unused.

    Args:
        config: The tower's config.
        pooling: DIM's pooling of its states.
        side: `text` or `vision`.

    Raises:
        DIMError: If transformers has no such encoder, or it does not read texts or pictures.
    """
    cls = tower_class(config)
    check_inputs(cls, config, side)
    show_whole_pictures(config)
    unused = pooling != "pooler" and "add_pooling_layer" in inspect.signature(cls.__init__).parameters
    try:
        return cls._from_config(config, **({"add_pooling_layer": False} if unused else {}))
    except Exception as error:
        raise DIMError(f"The {side} tower of type {config.model_type!r} cannot be built: {one_line(error)}") from error


def show_whole_pictures(config: PreTrainedConfig) -> None:
    """Sets the fields with which a tower that was trained on hidden patches encodes whole pictures."""
    for name, value in _FIELDS.get(config.model_type, {}).items():
        setattr(config, name, value)


def check_inputs(cls: type[PreTrainedModel], config: PreTrainedConfig, side: str) -> None:
    """Raises `DIMError` for a class of transformers that is not an encoder of texts, or of pictures."""
    known = inspect.signature(cls.forward).parameters
    needed = {name for name, one in known.items() if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD}
    masks = side == "text" and "attention_mask" not in known
    if side == "vision" and config.model_type.startswith("siglip2"):
        raise DIMError(
            "SigLIP 2 with NaFlex reads patches of pictures of any shape, which DIM does not make; choose a SigLIP 2 "
            "of a fixed resolution, or another vision tower."
        )
    if _INPUTS[side] not in known or masks or needed - {"self", _INPUTS[side]}:
        raise DIMError(
            f"{cls.__name__} (type {config.model_type!r}) is no {side} tower: DIM calls it with "
            f"{'input_ids and attention_mask' if side == 'text' else 'pixel_values'} alone."
        )


def to_dtype(name: torch.dtype | str) -> torch.dtype:
    """Returns a floating-point precision by its name."""
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise DIMError(f"dtype must be a floating-point precision such as 'float32' or 'bfloat16', got {name!r}.")
    return found


def one_line(error: Exception) -> str:
    """Returns an error of a library as one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def tower_inputs(config: PreTrainedConfig, side: str, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Makes a small input for a tower, to try it out: one text of a few tokens, or one grey picture."""
    if side == "text":
        ids = torch.full((1, _TRIED_TOKENS), 2, device=device)
        end = getattr(config, "eos_token_id", None)
        if isinstance(end, int) and 0 <= end < config.vocab_size:
            ids[0, -1] = end  # CLIP and others pool there
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(config, "num_channels", 3) != 3:
        raise DIMError(f"The vision tower takes pictures of {config.num_channels} channels; DIM has red, green, blue.")
    size: Any = getattr(config, "image_size", None) or _SMALL_PICTURE
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    return {"pixel_values": torch.zeros(1, 3, height, width, device=device, dtype=dtype)}


@torch.no_grad()
def try_tower(tower: PreTrainedModel, side: str) -> dict[str, int]:
    """Runs a tower once on a small input.

    Args:
        tower: The tower, on any device, `meta` included.
        side: `text` or `vision`.

    Returns:
        The poolings that its output allows, the usual one of a vision tower first, and the width of their vectors.

    Raises:
        DIMError: If it does not run, or gives no states.
    """
    config, training = tower.config, tower.training
    inputs = tower_inputs(config, side, tower.device, tower.dtype)
    tower.eval()
    try:
        outputs: Any = tower(**inputs)
        found = poolings(outputs, has_class_token(tower) or side == "text")
    except Exception as error:
        shape = tuple(inputs[_INPUTS[side]].shape)
        raise DIMError(
            f"The {side} tower of type {config.model_type!r} cannot encode {_INPUTS[side]} of shape {shape}: "
            f"{one_line(error)}"
        ) from error
    finally:
        tower.train(training)
    if not found:
        raise DIMError(f"The {side} tower of type {config.model_type!r} gives neither pooled vectors nor states.")
    return found


@torch.no_grad()
def check_padding(tower: PreTrainedModel, pooling: str) -> None:
    """Raises `DIMError` for a text tower whose vector of a text depends on the padding, that is on its neighbours."""
    alone = tower_inputs(tower.config, "text", tower.device, tower.dtype)
    pad = getattr(tower.config, "pad_token_id", None) or 0
    padded = {name: F.pad(value, (0, 3), value=pad if name == "input_ids" else 0) for name, value in alone.items()}
    own, found = (pool(tower(**inputs), pooling, inputs["attention_mask"]) for inputs in (alone, padded))
    if not torch.allclose(own, found, rtol=1e-3, atol=1e-4):
        raise DIMError(
            f"With the text tower of type {tower.config.model_type!r}, the vector of a text depends on how long the "
            "other texts of its batch are; choose another text encoder."
        )


def to_device(value: Tensor, device: torch.device) -> Tensor:
    """Moves a tensor; to a GPU from pinned memory, so that the host does not wait."""
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)


def tower_mask(tower: PreTrainedModel, attention_mask: Tensor | None) -> Tensor | None:
    """The mask for a text tower, from that of the tokens `(B, T)`; on a GPU, one that the host does not read.

    transformers reads a mask of tokens to leave it out if there is no padding, and so waits for all that a GPU has been
    given. It takes a mask of pairs of tokens as it is. Towers that do not take one get that of the tokens.
    """
    one_process = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    if attention_mask is None or not _is_gpu(attention_mask) or torch.compiler.is_compiling() or not one_process:
        return attention_mask
    kind = tower.config._attn_implementation
    if _square_masks.get(tower, ("", None))[0] != kind:
        _square_masks[tower] = kind, reads_square_masks(tower)
    causal = _square_masks[tower][1]
    return attention_mask if causal is None else square_mask(attention_mask, causal)


def square_mask(attention_mask: Tensor, causal: bool) -> Tensor:
    """Makes the mask of all pairs of tokens `(B, 1, T, T)`, bool, from that of the tokens `(B, T)`."""
    count = attention_mask.shape[1]
    pairs = attention_mask.to(torch.bool)[:, None, None, :].expand(-1, 1, count, count)
    return pairs.tril() if causal else pairs.contiguous()


@torch.no_grad()
def reads_square_masks(tower: PreTrainedModel) -> bool | None:
    """Finds out by trying whether a text tower takes masks of pairs of tokens, and which.

    Args:
        tower: The text tower.

    Returns:
        `False` if it attends to all tokens, `True` if it attends to earlier ones only: the mask by which it gives
        exactly what it gives by the mask of tokens. `None` if there is none, or if a layer attends to near tokens only.
    """
    if any(getattr(tower.config, name, None) for name in _WINDOWS):
        return None
    modes = {module: module.training for module in tower.modules()}
    alone = tower_inputs(tower.config, "text", tower.device, tower.dtype)
    alone["input_ids"][0, 1] = 1  # another token than its neighbours
    ids, mask = (F.pad(alone[name].repeat(2, 1), (0, 2)) for name in ("input_ids", "attention_mask"))
    tower.eval()
    try:
        expected = tower.forward(input_ids=ids, attention_mask=mask).last_hidden_state[:, :_TRIED_TOKENS]
        for causal in (False, True):
            found = tower.forward(input_ids=ids, attention_mask=square_mask(mask, causal)).last_hidden_state
            if torch.equal(found[:, :_TRIED_TOKENS], expected):
                return causal
    except Exception:  # a tower may do anything with a mask that it does not expect
        return None
    finally:
        for module, training in modes.items():
            module.training = training
    return None


def _is_gpu(value: Tensor) -> bool:
    return value.is_cuda


def has_class_token(tower: PreTrainedModel) -> bool:
    """Whether a vision tower puts a class token before the patches."""
    return any(name.endswith(_CLASS_TOKENS) for name, _ in tower.named_parameters())


def poolings(outputs: BaseModelOutputWithPooling, class_token: bool) -> dict[str, int]:
    """The poolings that a tower's output for one row allows, with the width of the vectors."""
    found: dict[str, int] = {}
    pooler, states = getattr(outputs, "pooler_output", None), getattr(outputs, "last_hidden_state", None)
    if isinstance(pooler, Tensor) and pooler.shape[0] == 1:
        found["pooler"] = pooler.flatten(1).shape[1]
    if isinstance(states, Tensor) and states.dim() == 3 and states.shape[0] == 1:
        found |= {"cls": states.shape[2]} if class_token else {}
        found["mean"] = states.shape[2]
    elif isinstance(states, Tensor) and states.dim() == 4 and states.shape[2] == states.shape[3]:
        found["mean"] = states.shape[1]  # a map of a square picture, (1, H, h, h), not (1, h, h, H)
    return found


def pooled_width(tower: PreTrainedModel, side: str, pooling: str, width: int | None) -> int:
    """Finds the width of a tower's pooled vector, and checks that its output can be pooled so.

    Args:
        tower: The tower.
        side: `text` or `vision`.
        pooling: DIM's pooling of its states.
        width: The width, if it is known; nothing is run then.

    Raises:
        DIMError: If the tower does not run, or its output cannot be pooled so.
    """
    if width is not None:
        return width
    try:
        found = try_tower(tower, side)
    except DIMError as error:
        if "meta tensor" not in str(error):
            raise
        return tower_width(tower.config)  # some towers run on data only
    if pooling not in found:
        raise DIMError(
            f"The {side} tower of type {tower.config.model_type!r} cannot be pooled by {pooling!r}; its output allows "
            f"{', '.join(map(repr, found))}: set {side}_pooling."
        )
    return found[pooling]


def pool(outputs: BaseModelOutputWithPooling, pooling: str, attention_mask: Tensor | None = None) -> Tensor:
    """Pools a tower's output to one vector per row: (B, T, H) or (B, H, h, w) -> (B, H).

    A mean is computed in float32 or wider. That of a row without tokens is 0.
    """
    if pooling == "pooler":
        return outputs.pooler_output.flatten(1)
    states = outputs.last_hidden_state
    if states.dim() == 4:  # a convolutional tower's feature map
        states = states.flatten(2).transpose(1, 2)  # (B, H, h, w) -> (B, h * w, H)
    if pooling == "cls":
        return states[:, 0]
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    if attention_mask is None:
        return wide.mean(1).to(states.dtype)
    there = attention_mask.to(torch.bool).unsqueeze(-1)  # (B, T, 1)
    total = wide.masked_fill(~there, 0.0).sum(1)
    return (total / there.sum(1).clamp(min=1)).to(states.dtype)


__all__ = [
    "build_tower",
    "check_inputs",
    "check_padding",
    "one_line",
    "pool",
    "pooled_width",
    "poolings",
    "reads_square_masks",
    "show_whole_pictures",
    "square_mask",
    "to_device",
    "to_dtype",
    "tower_class",
    "tower_inputs",
    "tower_mask",
    "try_tower",
]
