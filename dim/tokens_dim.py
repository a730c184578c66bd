# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Texts as token ids of a limited number."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .call_options_dim import CallOptions
from .sentences_dim import token_window


def cut_around(
    tokenizer: Any, texts: list[str], marked: list[tuple[int, int]], max_length: int
) -> tuple[list[str], Tensor]:
    """Cuts texts to a token limit around the marked span, and counts the tokens that each has lost.

    Args:
        tokenizer: A fast tokenizer.
        texts: `B` texts.
        marked: The span in each that stays inside.
        max_length: Token limit, special tokens included.

    Returns:
        The texts, and counts `(B,)`.
    """
    room = max_length - tokenizer.num_special_tokens_to_add()
    offsets = tokenizer(
        texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )["offset_mapping"]
    windows, dropped = list(texts), torch.zeros(len(texts), dtype=torch.long)
    for row in [row for row, pieces in enumerate(offsets) if len(pieces) > room]:
        budget, length = room, len(offsets[row])
        while length > room:  # a cut text may have more tokens than the same part of the whole
            first, last = token_window(texts[row], offsets[row], marked[row], budget)
            windows[row] = texts[row][offsets[row][first][0] : offsets[row][last][1]]
            length = len(tokenizer(windows[row], add_special_tokens=False, verbose=False)["input_ids"])
            budget -= 1
            if budget == 0:
                break  # a single piece exceeds the limit: `padded_ids` cuts it, and counts the loss
        dropped[row] = len(offsets[row]) - length
    return windows, dropped


def padded_ids(
    tokenizer: Any, prefix: str, texts: Sequence[str], options: CallOptions
) -> tuple[dict[str, Tensor], Tensor]:
    """Makes padded ids and mask of texts, cut at their end, and counts the tokens that each has lost.

    Args:
        tokenizer: A fast tokenizer.
        prefix: Prefix of the tensors' names.
        texts: `B` texts.
        options: The options of the call.

    Returns:
        `{prefix}_input_ids` and `{prefix}_attention_mask` `(B, T)`, and counts `(B,)`.
    """
    texts = list(texts)
    ids = tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)["input_ids"]
    dropped = torch.tensor([max(0, len(row) - options.max_length) for row in ids])
    for row in dropped.nonzero().flatten().tolist():
        ids[row] = _cut(tokenizer, texts[row], options.max_length)
    padded = tokenizer.pad(
        {"input_ids": ids},
        padding=options.padding,
        max_length=options.max_length if options.padding == "max_length" else None,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return {f"{prefix}_{name}": padded[name] for name in ("input_ids", "attention_mask")}, dropped


def _cut(tokenizer: Any, text: str, max_length: int) -> list[int]:
    """Makes the ids of a text that exceeds the limit, without its last tokens.

    The tokenizer would do it by a state that all threads share, so that one thread could cut the texts of another.
    """
    encoded = tokenizer(text, return_special_tokens_mask=True, verbose=False)
    room, ids = max_length - tokenizer.num_special_tokens_to_add(), []
    for token, is_special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        if is_special or room > 0:
            ids.append(token)
            room -= not is_special
    return ids


__all__ = ["cut_around", "padded_ids"]
