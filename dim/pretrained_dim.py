# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Pretrained towers of a new DIM: their weights, their projections, and the config that fits them."""

import copy
import difflib
from dataclasses import dataclass, field, fields

import torch
import transformers
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from .configuration_dim import DIMConfig, attends_to_padding
from .errors_dim import DIMError
from .towers_dim import (
    build_tower,
    check_inputs,
    check_padding,
    one_line,
    pool,
    show_whole_pictures,
    tower_class,
    tower_inputs,
    try_tower,
)

logger = logging.get_logger(__name__)

# Per side: name of the tower in a checkpoint with both, of its projection there, and of its features.
_PARTS = {
    "text": ("text_model", "text_projection", "get_text_features"),
    "vision": ("vision_model", "visual_projection", "get_image_features"),
}
_NOT_NEEDED = ("mask_token",)  # stands for a hidden patch in pretraining


@dataclass
class Tower:
    """A pretrained tower.

    Args:
        name: Folder or Hub name of its checkpoint.
        side: `text` or `vision`.
        model: The tower, in float32.
        pooling: How DIM pools its states.
        width: Width of the pooled vector.
        projection: The checkpoint's own projection into a shared space `(D, H)`, if it has one.
        missing: Weights that the checkpoint lacks.
    """

    name: str
    side: str
    model: PreTrainedModel
    pooling: str
    width: int
    projection: Tensor | None = None
    missing: set[str] = field(default_factory=set)

    @property
    def features(self) -> int:
        """Width of the tower's own features: projected, if the checkpoint has a projection."""
        return self.width if self.projection is None else len(self.projection)

    def copy_to(self, tower: PreTrainedModel, projection: nn.Linear) -> None:
        """Copies the weights into DIM's tower, and the own projection (or the identity) into DIM's projection."""
        inner = next((one for one in tower.modules() if type(one) is type(self.model)), tower)  # OwlViT wraps it
        weights, wanted = self.model.state_dict(), inner.state_dict()
        lacking = sorted(name for name in wanted if name not in weights or name in self.missing)
        unused = [name for name in lacking if name.endswith(_NOT_NEEDED)]
        if len(lacking) > len(unused):
            needed = [name for name in lacking if name not in unused]
            raise DIMError(
                f"{self.name} lacks {len(needed)} weights of its {self.side} tower ({', '.join(needed[:3])}"
                f"{', ...' if len(needed) > 3 else ''}); they would be random."
            )
        if unused:
            logger.warning(f"{self.name} lacks {', '.join(unused)}, which DIM does not use.")
        inner.load_state_dict({name: weights[name] for name in wanted})
        with torch.no_grad():
            nn.init.eye_(projection.weight)
            if self.projection is not None:
                kept = min(len(self.projection), len(projection.weight))
                projection.weight.zero_()
                projection.weight[:kept] = self.projection[:kept]
        if self.features > len(projection.weight):
            logger.warning(
                f"projection_dim {len(projection.weight)} keeps the first {len(projection.weight)} of the "
                f"{self.features} values of {self.name}'s {self.side} features."
            )


@dataclass
class Towers:
    """The pretrained towers of a new DIM, and the fields of a config that fits them."""

    fields: dict
    text: Tower
    vision: Tower | None


def load_towers(
    text: str, vision: str | PreTrainedConfig | None, chosen: dict, revision: str | None, vision_revision: str | None
) -> Towers:
    """Loads the checkpoints of `DIMModel.from_towers`.

    Args:
        text: Folder or Hub name of a text encoder, or of a checkpoint with both towers.
        vision: Folder or Hub name of a vision encoder; a config for an untrained one; `None` for that of `text`.
        chosen: Fields of the config that the caller sets.
        revision: Revision of `text` on the Hub.
        vision_revision: Revision of `vision` on the Hub.

    Returns:
        The towers, and the config's fields.

    Raises:
        OSError: If a tower is neither a folder nor reachable on the Hub.
        DIMError: If a field is unknown, transformers has no such encoder, or DIM cannot compute its features.
    """
    _check_names(chosen)
    load = _Loader()
    text_tower, both = _load_tower(load, text, "text", revision, chosen.get("text_pooling"))
    if not attends_to_padding(text_tower.model.config):
        check_padding(text_tower.model, text_tower.pooling)
    vision_tower, config = None, vision
    if isinstance(vision, str):
        vision_tower, _ = _load_tower(load, vision, "vision", vision_revision, chosen.get("vision_pooling"))
    elif vision is None and both and chosen.get("vision_config", ...) is not None:
        vision_tower, _ = _load_tower(load, text, "vision", revision, chosen.get("vision_pooling"))
    untrained: dict = {}
    if vision_tower is not None:
        config = vision_tower.model.config
    elif isinstance(config, PreTrainedConfig) and "vision_pooling" not in chosen:
        untrained = {"vision_pooling": _untrained_pooling(config)}
    values: dict = {
        "text_config": _plain(text_tower.model.config),
        "text_pooling": text_tower.pooling,
        "text_width": text_tower.width,
        "attend_to_padding": attends_to_padding(text_tower.model.config),
        "vision_config": None if config is None else _plain(config),
        **untrained,
    }
    if vision_tower is not None:
        values |= {"vision_pooling": vision_tower.pooling, "vision_width": vision_tower.width}
    if config is None:
        values |= {"mention_modalities": ["sentence", "expert"], "entity_pictures": False}
    values["projection_dim"] = max(tower.features for tower in (text_tower, vision_tower) if tower is not None)
    return Towers(values | chosen, text_tower, vision_tower)


def _check_names(chosen: dict) -> None:
    known = [one.name for one in fields(DIMConfig)]
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, "dtype", "revision", "vision_revision"], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise DIMError(f"from_towers does not know the argument {name!r}{hint}")


def _load_tower(load: "_Loader", name: str, side: str, revision: str | None, pooling: str | None) -> tuple[Tower, bool]:
    """Loads a tower, and tells whether its checkpoint has both."""
    try:
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except ValueError as error:
        raise DIMError(
            f"transformers does not know the model {name}; if its classes are your own, import the module that "
            f"registers them first ({one_line(error)})."
        ) from error
    own = getattr(config, f"{side}_config", None)
    if isinstance(own, PreTrainedConfig):
        return _load_side(load, name, side, config, own, revision, pooling), True
    cls = tower_class(config)
    check_inputs(cls, config, side)
    projected = next((one for one in config.architectures or [] if one.endswith("ModelWithProjection")), None)
    if projected is not None and hasattr(transformers, projected):
        model, missing = load(getattr(transformers, projected), name, revision)
        tower, projection = getattr(model, _PARTS[side][0]), getattr(model, _PARTS[side][1]).weight
        prefix = f"{_PARTS[side][0]}."
        missing = {one.removeprefix(prefix) for one in missing}
        return Tower(name, side, tower, pooling or "pooler", projection.shape[1], projection, missing), False
    model, missing = load(cls, name, revision)
    found = try_tower(model, side)
    chosen = pooling or _usual_pooling(name, side, model, found, missing)
    if chosen not in found:
        raise DIMError(f"{name} cannot be pooled by {chosen!r}; its output allows {', '.join(map(repr, found))}.")
    return Tower(name, side, model, chosen, found[chosen], None, missing), False


def _usual_pooling(name: str, side: str, model: PreTrainedModel, found: dict[str, int], missing: set[str]) -> str:
    """A tower's usual pooling: of pictures the pooler, the class token or the mean; of texts [`suggest_pooling`]."""
    if side == "text":
        usual = suggest_pooling(model.config)
        return usual if usual in found else "mean"
    if any("pooler" in one for one in missing):
        rest = next(one for one in found if one != "pooler")
        what = "class token" if rest == "cls" else "mean over patches"
        logger.warning(f"{name} has no weights of a pooler; its pictures are pooled by the {what}.")
        return rest
    return next(iter(found))


def _untrained_pooling(config: PreTrainedConfig) -> str:
    """The usual pooling of a vision tower that is built from its config."""
    with torch.device("meta"):  # costs no memory, and draws no random numbers
        tower = build_tower(copy.deepcopy(config), "pooler", "vision")
        return next(iter(try_tower(tower, "vision")))


def suggest_pooling(config: PreTrainedConfig) -> str:
    """Returns a text tower's usual pooling: the pooler for CLIP and SigLIP, the mean for others, such as MiniLM."""
    return "pooler" if config.model_type.startswith(("clip", "siglip", "metaclip")) else "mean"


class _Loader:
    """Loads checkpoints in float32, each once."""

    def __init__(self) -> None:
        self.known: dict[tuple, tuple[PreTrainedModel, set[str]]] = {}

    def __call__(self, cls: type[PreTrainedModel], name: str, revision: str | None) -> tuple[PreTrainedModel, set[str]]:
        """Returns a model, and the names of the weights that its checkpoint lacks."""
        key = cls, name, revision
        if key not in self.known:
            try:
                model, report = cls.from_pretrained(
                    name, revision=revision, dtype=torch.float32, output_loading_info=True
                )
            except (ValueError, RuntimeError, ImportError) as error:
                raise DIMError(f"{name} cannot be loaded as {cls.__name__}: {one_line(error)}") from error
            show_whole_pictures(model.config)
            missing = set(report["missing_keys"]) | {one[0] for one in report["mismatched_keys"]}
            self.known[key] = model.eval(), missing
        return self.known[key]


def _load_side(
    load: _Loader,
    name: str,
    side: str,
    config: PreTrainedConfig,
    own: PreTrainedConfig,
    revision: str | None,
    pooling: str | None,
) -> Tower:
    """Loads one tower of a checkpoint with both, with its projection and the pooling that gives its features."""
    attribute, projection_name, features = _PARTS[side]
    cls = MODEL_MAPPING.get(type(config), None)
    if cls is None or not hasattr(cls, "get_text_features") or not hasattr(cls, features):
        raise DIMError(f"{name} (type {config.model_type!r}) gives no features of one {side}; choose a {side} encoder.")
    check_inputs(tower_class(own), own, side)
    model, missing = load(cls, name, revision)
    tower, projection = getattr(model, attribute, None), getattr(model, projection_name, None)
    if tower is None or (projection is not None and not _is_matrix(projection)):
        raise DIMError(
            f"{name} (type {config.model_type!r}): DIM cannot hold the {side} projection of this model, which is not "
            f"one matrix; choose another {side} encoder."
        )
    if any(one.startswith(projection_name) for one in missing):
        raise DIMError(f"{name} lacks the weights of its {side} projection; they would be random.")
    weight = None if projection is None else projection.weight
    found = try_tower(tower, side)
    pooling = pooling or _pooling_of_features(name, side, model, tower, weight, found)
    missing = {one.removeprefix(f"{attribute}.") for one in missing if one.startswith(f"{attribute}.")}
    return Tower(name, side, tower, pooling, found[pooling], weight, missing)


def _is_matrix(projection: nn.Module) -> bool:
    return isinstance(projection, nn.Linear) and projection.bias is None


@torch.no_grad()
def _pooling_of_features(
    name: str, side: str, model: PreTrainedModel, tower: PreTrainedModel, weight: Tensor | None, found: dict[str, int]
) -> str:
    """The pooling of a tower's states with which its projection gives the checkpoint's own features."""
    inputs = tower_inputs(tower.config, side, tower.device, tower.dtype)
    features = getattr(model, _PARTS[side][2])(**inputs)
    own = features if isinstance(features, Tensor) else features.pooler_output
    outputs = tower(**inputs)
    for pooling in found:
        vector = pool(outputs, pooling)
        vector = vector if weight is None or weight.shape[1] != vector.shape[1] else vector @ weight.T
        if own.shape == vector.shape and torch.allclose(own, vector, atol=1e-5, rtol=1e-4):
            return pooling
    raise DIMError(f"{name}: DIM cannot compute the {side} features of this model; choose another {side} encoder.")


def _plain(config: PreTrainedConfig) -> dict:
    """Returns a tower's config without the fields that name its source or its precision."""
    dropped = ("_name_or_path", "architectures", "dtype")
    return {key: value for key, value in config.to_dict().items() if key not in dropped}


__all__ = ["Towers", "load_towers", "suggest_pooling"]
