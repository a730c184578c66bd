"""The model and processor that a run starts from, and the parameters that it trains."""

import json

import pytest

from dim import DIMModel
from dim.training.arguments import ModelArguments, TrainArguments
from dim.training.model import load_model, parameter_groups


@pytest.mark.parametrize("prior", [False, True])
def test_the_processor_knows_of_the_prior(tiny_clip_dir, tmp_path, prior):
    towers = ModelArguments(text_tower=str(tiny_clip_dir), lexical_prior=prior)
    model, processor = load_model(towers)
    assert processor.lexical_prior is prior is (model.config.num_lexical_features > 0)
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "processor_config.json").read_text())["lexical_prior"] is prior
    model.save_pretrained(tmp_path)
    _, further = load_model(ModelArguments(model_name_or_path=str(tmp_path)))
    assert further.lexical_prior is prior


def test_parameter_groups(tiny_dim_dir):
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=3)
    model.text_model.requires_grad_(False)
    model.text_projection.requires_grad_(False)
    arguments = TrainArguments(learning_rate=1e-3, head_learning_rate=1e-2, prior_learning_rate=1e-1, weight_decay=0.1)
    rates = {"vis": 1e-3, "lex": 1e-1}
    names = {id(p): name for name, p in model.named_parameters()}
    seen = set()
    for group in parameter_groups(model, arguments):
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            assert group["lr"] == rates.get(name[:3], 1e-2)
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
    assert seen == {name for name, _ in model.named_parameters() if not name.startswith("text_")}
    [one] = {group["lr"] for group in parameter_groups(model, TrainArguments(learning_rate=1e-3))}
    assert one == 1e-3  # the others are the same by default
