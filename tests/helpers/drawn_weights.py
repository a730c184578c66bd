"""A model whose every weight shows in its vectors: those of a new one start as identities and zeros."""

import torch


@torch.no_grad()
def draw_weights(model, seed):
    """Draws all weights anew, but for those of norms and scales."""
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "norm" not in name and "scale" not in name:
            torch.nn.init.normal_(weight, std=0.3)
