"""The parameters that a run trains."""

from dim import DIMModel
from dim.training.arguments import TrainArguments
from dim.training.model import parameter_groups


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
