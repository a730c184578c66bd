"""Inputs of a tiny DIM: three mentions and four entities, with pictures and captions for some of them."""

import torch

BATCH, POOL = 3, 4


def tiny_inputs(**changes):
    generator = torch.Generator().manual_seed(1)

    def ids(rows):
        return torch.randint(1, 38, (rows, 5), generator=generator).index_fill_(1, torch.tensor([4]), 39)

    inputs = {
        "mention_input_ids": ids(BATCH),
        "sentence_input_ids": ids(BATCH),
        "expert_input_ids": ids(BATCH),
        "expert_mask": torch.tensor([True, False, True]),
        "pixel_values": torch.randn(BATCH, 3, 16, 16, generator=generator),
        "pixel_mask": torch.tensor([True, True, False]),
        "entity_input_ids": ids(POOL),
        "entity_pixel_values": torch.randn(POOL, 2, 3, 16, 16, generator=generator),
        "entity_pixel_mask": torch.tensor([[True, True], [True, False], [False, False], [True, False]]),
        "labels": torch.tensor([0, 1, 2]),
    }
    return {name: value for name, value in (inputs | changes).items() if value is not None}
