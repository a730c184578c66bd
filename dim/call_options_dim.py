# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""A call of the processor: its options, its lists, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import BatchFeature

from .errors_dim import DIMError

_PADDINGS = {"longest": "longest", True: "longest", "max_length": "max_length"}
_TEXT_OPTIONS = ("padding", "max_length", "truncation", "return_tensors")
_OUTPUTS = ("pt", "np")


@dataclass(frozen=True)
class CallOptions:
    """How a call of the processor makes tensors.

    Args:
        max_length: Token limit of a text, special tokens included.
        padding: `"longest"` or `"max_length"`.
        return_tensors: `"pt"` or `"np"`.
        images: Arguments for the image processor.
    """

    max_length: int
    padding: str
    return_tensors: str
    images: dict[str, Any]


def read_options(text: dict[str, Any], images: dict[str, Any], max_length: int, padding: str) -> CallOptions:
    """Checks the options of a call, merged by transformers into those of texts and of pictures.

    Args:
        text: Options of texts: `padding`, `max_length`, `truncation` (texts are always cut), `return_tensors`.
        images: Options of the image processor.
        max_length: The processor's token limit, the highest one.
        padding: The processor's padding.

    Raises:
        DIMError: If an option is unknown or has another value.

    Example:

        >>> read_options({"padding": True, "max_length": 16}, {}, 77, "max_length")
        CallOptions(max_length=16, padding='longest', return_tensors='pt', images={})
    """
    unknown = [name for name, value in text.items() if name not in _TEXT_OPTIONS and value is not None]
    if unknown:
        raise DIMError(f"The processor does not know the option {unknown[0]!r}; for texts it has {_TEXT_OPTIONS}.")
    chosen = {name: value for name, value in text.items() if value is not None}
    length, tensors = chosen.get("max_length", max_length), chosen.get("return_tensors", "pt")
    if not isinstance(length, int) or not 0 < length <= max_length:
        raise DIMError(f"max_length must be between 1 and the processor's {max_length}, got {length!r}.")
    if chosen.get("padding", padding) not in _PADDINGS:
        raise DIMError(f"padding must be 'longest' (True) or 'max_length', got {chosen['padding']!r}.")
    if chosen.get("truncation", True) is not True:
        raise DIMError(f"truncation must be True, since the text tower has a limit; got {chosen['truncation']!r}.")
    if tensors not in _OUTPUTS:
        raise DIMError(f"return_tensors must be one of {_OUTPUTS}, got {tensors!r}.")
    kept = {name: value for name, value in images.items() if name != "return_tensors"}
    return CallOptions(length, _PADDINGS[chosen.get("padding", padding)], tensors, kept)


def as_feature(batch: Mapping[str, Any], options: CallOptions) -> BatchFeature:
    """The tensors of a call, as it asks for them."""
    as_arrays = options.return_tensors == "np"
    return BatchFeature({k: v.numpy() if as_arrays and isinstance(v, Tensor) else v for k, v in batch.items()})


def pictures_of_one(images: Any, depth: int) -> Any:
    """Puts one picture into `depth` lists; lists stay as they are."""
    if images is None or (is_list(images) and getattr(images, "ndim", 1) not in (2, 3)):
        return images
    return [images] if depth == 1 else [[images]]


def in_list(texts: Any) -> Any:
    """Puts one text into a list; lists stay as they are."""
    return [texts] if isinstance(texts, str) else texts


def is_list(values: Any) -> bool:
    """Whether values are several texts or pictures, not one."""
    return not isinstance(values, str | bytes | dict) and hasattr(values, "__len__")


def same_length(**lists: Any) -> None:
    """Raises a `DIMError` for an empty batch, or lists that differ in length."""
    for name, values in lists.items():
        if values is None:
            continue
        what = "picture" if "image" in name else "span" if name == "spans" else "text"
        if not is_list(values) or (what == "picture" and getattr(values, "ndim", 1) in (2, 3)):
            raise DIMError(f"{name} must be a list of {what}s, got one {what}; wrap it in a list.")
    lengths = {name: len(values) for name, values in lists.items() if values is not None}
    if len(set(lengths.values())) > 1:
        raise DIMError("Lists differ in length: " + ", ".join(f"{name} {size}" for name, size in lengths.items()) + ".")
    if 0 in lengths.values():
        raise DIMError(f"Nothing to process: {next(iter(lengths))} is empty.")


__all__ = ["CallOptions", "as_feature", "in_list", "is_list", "pictures_of_one", "read_options", "same_length"]
