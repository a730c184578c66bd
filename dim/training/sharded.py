"""Training with sharded weights (FSDP, DeepSpeed): the model to shard, and its weights gathered into a whole model."""

import copy
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from transformers.integrations import unset_hf_deepspeed_config

from dim.errors import DIMError
from dim.modeling_dim import DIMModel

_TEXTS = {"": ("mention_input_ids", "mention_pooled"), "entity_": ("entity_input_ids", "entity_pooled")}


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a shard of the weights, not all of them.

    Raises:
        DIMError: For version 1 of FSDP, which cannot shard a model with frozen parameters.
    """
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise DIMError("Only FSDP 2 is supported: set fsdp_version: 2 in the configuration of accelerate.")
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def configure_deepspeed(accelerator: Accelerator, batch_size: int, accumulation: int, max_grad_norm: float) -> None:
    """Gives DeepSpeed, where it is in use, the run's batch size, accumulation and gradient clipping.

    Models loaded afterwards are whole on every process; otherwise transformers would shard them at once with ZeRO-3.

    Args:
        accelerator: The run's accelerator.
        batch_size: Mentions in a batch of one process.
        accumulation: Batches in a step.
        max_grad_norm: Norm to which gradients are clipped.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        config = {
            "train_micro_batch_size_per_gpu": batch_size,
            "gradient_accumulation_steps": accumulation,
            "gradient_clipping": max_grad_norm,
        }
        accelerator.state.deepspeed_plugin.deepspeed_config.update(config)
        unset_hf_deepspeed_config()


class _AlwaysVisionModel(DIMModel):
    """A DIM that runs its vision tower at every training step, even for a batch without pictures.

    Processes that shard a model must run the same layers. The vector of a black picture is then added, multiplied by 0.
    """

    def __init__(self, model: DIMModel, picture_shape: torch.Size):
        with torch.device("meta"):  # its modules are replaced by copies of the model's
            super().__init__(model.config)
        for name, module in copy.deepcopy(model).named_children():
            setattr(self, name, module)
        self.train(model.training)
        self.picture = torch.zeros(1, *picture_shape)

    def _encode_pictures(self, inputs: Any, side: str, **options: bool) -> Any:
        vectors, mask, outputs = super()._encode_pictures(inputs, side, **options)
        if not self.training or (mask is not None and mask.any()):
            return vectors, mask, outputs
        pooled = inputs.get(f"{side}image_pooled")
        if pooled is not None:
            blank = {"image_pooled": pooled.new_zeros(1, self.visual_projection.in_features)}
        else:
            blank = {"pixel_values": self.picture.to(self.device)}
        self.vision_model.eval()  # so that its running statistics do not change
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
        picture_shape: Shape of the training pictures, `(3, h, w)`; `None` if there are none.

    Returns:
        The copy. Its parameters are contiguous, whatever the model's layout: FSDP takes no others.
    """
    whole = copy.deepcopy(model) if picture_shape is None else _AlwaysVisionModel(model, picture_shape)
    return whole.to(memory_format=torch.contiguous_format)


def gather_weights(prepared: nn.Module, model: nn.Module, accelerator: Accelerator) -> None:
    """Copies the weights of a sharded model into a whole one on every process, in the optimizer's precision.

    Args:
        prepared: The objective with the model being trained, as returned by `accelerator.prepare`.
        model: The whole model. Where nothing is sharded, it is itself being trained, and nothing is copied.
        accelerator: The run's accelerator.
    """
    if not is_sharded(accelerator):
        return
    trained, whole = accelerator.unwrap_model(prepared).model, dict(model.named_parameters())
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
