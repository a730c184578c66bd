"""The model of a run: how it is loaded, which parameters are trained, and at which learning rates."""

import copy

from torch import nn

from dim.common.hub import check_repository
from dim.encoding.loading import load_dim
from dim.errors import DIMError
from dim.lexical_dim import LEXICAL_FEATURES
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.training.arguments import ModelArguments, TrainArguments

_TOWERS = ("text_model", "vision_model")


def load_model(arguments: ModelArguments) -> tuple[DIMModel, DIMProcessor]:
    """Loads the model and processor that a run starts from.

    Args:
        arguments: A DIM to train further, or towers to build one from.

    Returns:
        The model and the processor. Frozen parameters have `requires_grad=False`, and with `tune="lora"` the towers
        have adapters.

    Raises:
        DIMError: If a name is neither a folder nor on the Hub, or the model cannot be loaded.
    """
    source = str(arguments.model_name_or_path or arguments.text_tower)
    try:
        if arguments.model_name_or_path:
            model, processor = load_dim(source)
        else:
            for tower in filter(None, (source, arguments.vision_tower)):
                check_repository(tower, "tower")
            known = ("fusion", "projection_dim", "dropout", "match_dropout", "logit_scale_init_value")
            chosen = {name: getattr(arguments, name) for name in known}
            fields = {name: value for name, value in chosen.items() if value is not None}
            fields["num_lexical_features"] = len(LEXICAL_FEATURES) if arguments.lexical_prior else 0
            model = DIMModel.from_towers(source, arguments.vision_tower, **fields)
            processor = DIMProcessor.from_towers(
                source,
                arguments.vision_tower,
                max_text_length=arguments.max_length,
                lexical_prior=arguments.lexical_prior,
            )
    except OSError as error:
        names = " or ".join(repr(name) for name in (source, arguments.vision_tower) if name)
        raise DIMError(f"Cannot load {names}: neither a model folder nor reachable on the Hub ({error}).") from error
    if arguments.tune != "full":
        for tower in _TOWERS:
            getattr(model, tower, nn.Identity()).requires_grad_(False)
    frozen = ["text_model", "text_projection"] if arguments.freeze_text else []
    if model.config.uses_pictures:
        frozen += ["vision_model", "visual_projection"] if arguments.freeze_vision else []
    elif arguments.freeze_vision:
        raise DIMError("--freeze_vision is set, but the model has no vision tower.")
    for name in frozen:
        getattr(model, name).requires_grad_(False)
    if arguments.tune == "lora":
        _add_adapters(model, arguments.lora_rank)
    return model, processor


def _add_adapters(model: DIMModel, rank: int) -> None:
    """Adds LoRA adapters (Hu et al. 2021) to the towers by PEFT, in place; the rest of the model is trained in full."""
    from peft import LoraConfig, inject_adapter_in_model

    heads = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=model.lora_target_modules)
    inject_adapter_in_model(config, model)
    named = dict(model.named_parameters())
    for name in heads:  # PEFT freezes everything but its adapters
        named[name].requires_grad_(True)


def merged(model: DIMModel) -> DIMModel:
    """Returns the model to publish: the model itself, or a copy with its adapters merged."""
    if not any("lora_" in name for name, _ in model.named_parameters()):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    whole = copy.deepcopy(model)
    for name, module in list(whole.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(whole.get_submodule(parent), child, module.get_base_layer())
    return whole


def frozen_towers(model: DIMModel) -> dict[str, bool]:
    """Whether each tower, `text` and `vision`, is frozen; a frozen tower encodes the dataset only once."""
    return {
        name: not any(parameter.requires_grad for parameter in getattr(model, f"{name}_model").parameters())
        for name in ("text", "vision")
        if hasattr(model, f"{name}_model")
    }


def parameter_groups(model: DIMModel, arguments: TrainArguments) -> list[dict]:
    """Groups the trained parameters by learning rate (towers, prior, fusion) and weight decay.

    Args:
        model: The model.
        arguments: `learning_rate` applies to the towers and their projections into the shared space,
            `prior_learning_rate` to the lexical prior, `head_learning_rate` to the rest; the last two default to
            `learning_rate`. `weight_decay` applies to matrices, not to biases, norms and scales.

    Returns:
        Parameter groups for an optimizer of torch.
    """
    rates = {
        "text_": arguments.learning_rate,
        "vision_": arguments.learning_rate,
        "visual_": arguments.learning_rate,
        "lexical_": arguments.prior_learning_rate or arguments.learning_rate,
    }
    head = arguments.head_learning_rate or arguments.learning_rate
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = next((rate for start, rate in rates.items() if name.startswith(start)), head)
            decay = arguments.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]
