"""Training with sharded weights (FSDP, DeepSpeed): what trains, and how a whole model is had from it."""

import copy
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from transformers.integrations import unset_hf_deepspeed_config

from dim.configuration_dim import tower_width
from dim.errors import DIMError
from dim.modeling_dim import DIMModel

_TEXTS = {"": ("mention_input_ids", "mention_pooled"), "entity_": ("entity_input_ids", "entity_pooled")}


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the weights, not all of them.

    Raises:
        DIMError: For the first version of FSDP, which shards no model of which a part stands still.
    """
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise DIMError("FSDP is to be of version 2: set fsdp_version: 2 in the configuration of accelerate.")
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def configure_deepspeed(accelerator: Accelerator, batch_size: int, accumulation: int, max_grad_norm: float) -> None:
    """Tells DeepSpeed, where it is in use, what the run's own arguments say, and to clip, which it does itself.

    Models that are loaded afterwards are whole on every process: with ZeRO-3, transformers would shard them at once.

    Args:
        accelerator: The run's accelerator.
        batch_size: Mentions of one process.
        accumulation: Batches of a step.
        max_grad_norm: Length to which gradients are clipped.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        config = {
            "train_micro_batch_size_per_gpu": batch_size,
            "gradient_accumulation_steps": accumulation,
            "gradient_clipping": max_grad_norm,
        }
        accelerator.state.deepspeed_plugin.deepspeed_config.update(config)
        unset_hf_deepspeed_config()


class _EveryPart(DIMModel):
    """A DIM that runs its vision side at every step of training, also for a batch without a picture.

    Processes that shard a model must run the same layers. What a black picture gives is multiplied by 0.
    """

    picture: Tensor  # (1, 3, h, w), black

    def _encode_pictures(self, inputs: Any, side: str) -> Any:
        vectors, mask, outputs = super()._encode_pictures(inputs, side)
        if not self.training or (mask is not None and mask.any()):
            return vectors, mask, outputs
        pooled = inputs.get(f"{side}image_pooled")
        if pooled is not None:
            blank = {"image_pooled": pooled.new_zeros(1, tower_width(self.config.vision_config))}
        else:
            blank = {"pixel_values": self.picture.to(self.device)}
        self.vision_model.eval()  # its running statistics stay as they are
        nothing = 0.0 * super()._encode_pictures(blank, "")[0].sum()  # type: ignore[union-attr]
        self.vision_model.train()
        if vectors is None:
            texts = next(inputs[name] for name in _TEXTS[side] if inputs.get(name) is not None)
            mask = torch.zeros((len(texts), 1) if side else (len(texts),), dtype=torch.bool, device=self.device)
            vectors = nothing.new_zeros(*mask.shape, self.config.projection_dim)
        return vectors + nothing, mask, outputs


def sharded_copy(model: DIMModel, picture_shape: torch.Size | None) -> DIMModel:
    """A copy of a model for `accelerator.prepare` to shard.

    Args:
        model: The model.
        picture_shape: Shape of the pictures that it is trained on, `(3, h, w)`; `None` if there is none.

    Returns:
        The copy.
    """
    copied = copy.deepcopy(model)
    if picture_shape is not None:
        copied.__class__ = _EveryPart
        copied.picture = torch.zeros(1, *picture_shape)
    return copied


def gather_weights(prepared: nn.Module, model: nn.Module, accelerator: Accelerator) -> None:
    """Copies the weights of a sharded model into a whole one, on every process, in the optimizer's precision.

    Args:
        prepared: What `accelerator.prepare` made of the model that trains.
        model: The whole one. Where nothing is sharded it *is* what trains, and stays.
        accelerator: The run's accelerator.
    """
    if not is_sharded(accelerator):
        return
    trained, whole = accelerator.unwrap_model(prepared), dict(model.named_parameters())
    for name, part in trained.named_parameters():
        if part.requires_grad:
            whole[name].data.copy_(_whole(part, accelerator))
    for mine, theirs in zip(model.buffers(), trained.buffers(), strict=True):
        mine.copy_(theirs)


def _whole(part: Tensor, accelerator: Accelerator) -> Tensor:
    if accelerator.distributed_type == DistributedType.FSDP:
        return part.full_tensor()  # type: ignore[attr-defined]
    from deepspeed.utils import safe_get_full_fp32_param

    return safe_get_full_fp32_param(part)


__all__ = ["configure_deepspeed", "gather_weights", "is_sharded", "sharded_copy"]
