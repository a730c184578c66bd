"""The prior that is fitted after the vectors: it learns from hard negatives, alone, and the same each time."""

import copy

import pytest
import torch
from accelerate import Accelerator

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.encoding.mention import Mention
from dim.lexical_dim import LEXICAL_FEATURES
from dim.training.arguments import DataArguments, TrainArguments
from dim.training.data import MELData
from dim.training.mining import HardNegativeMiner
from dim.training.prior_fit import LexicalPriorFitter, _repeated


@pytest.fixture(scope="module")
def parts(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    torch.manual_seed(0)
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    data = MELData(
        DataArguments(dataset=str(tiny_mel_dir)), processor, tmp_path_factory.mktemp("p") / "p", model.config
    )
    # names that tell: each mention is called by its answer's colour
    for row, gold in enumerate(data.train.gold.tolist()):
        data.train.mentions[row] = Mention(data.entities.names[gold].removeprefix("gem "), "")
    return model, data


def test_it_learns_names_and_leaves_the_vectors(parts):
    model, data = parts
    arguments = TrainArguments(prior_epochs=60, prior_learning_rate=1e-2)
    prior = LexicalPriorFitter(model, data, HardNegativeMiner(data, 8), arguments)
    before = copy.deepcopy(model.state_dict())
    accelerator = Accelerator(cpu=True)
    prior.fit(accelerator)
    after = copy.deepcopy(model.state_dict())
    assert {name for name in after if not torch.equal(before[name], after[name])} == {
        name for name in after if name.startswith("lexical_prior.")
    }
    mentions, entities, features, pairs, there = prior._examples(accelerator)
    with torch.no_grad():
        logits = model.score_pairs(mentions, entities[pairs], features).masked_fill(~there, -torch.inf)
        alone = model.score_pairs(mentions, entities[pairs])
    assert (logits.argmax(1) == 0).all()
    assert not (alone.masked_fill(~there, -torch.inf).argmax(1) == 0).all()  # the vectors alone do not know
    prior.fit(accelerator)
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())


def test_each_entity_counts_once(parts):
    model, data = parts
    prior = LexicalPriorFitter(model, data, HardNegativeMiner(data, 8), TrainArguments())
    there = prior._examples(Accelerator(cpu=True))[4]
    assert there[:, 0].all()
    assert (there.sum(1) == len(data.entities.ids)).all()  # nearest and alike find the same five
    assert _repeated(torch.tensor([[3, 1, 3, 3], [0, 1, 2, 0]])).tolist() == [
        [False, False, True, True],
        [False, False, False, True],
    ]


def test_a_model_without_a_prior_is_refused(parts, tiny_dim_dir, tiny_mel_dir, tmp_path):
    data = MELData(
        DataArguments(dataset=str(tiny_mel_dir)),
        DIMProcessor.from_pretrained(tiny_dim_dir),
        tmp_path / "p",
        DIMConfig(),
    )
    with pytest.raises(ValueError, match="--prior_epochs fits a lexical prior, but the model has none"):
        LexicalPriorFitter(parts[0], data, HardNegativeMiner(data, 8), TrainArguments(prior_epochs=1))
