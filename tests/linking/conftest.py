"""A tiny DIM with its processor, with and without a lexical prior, and a linker to a module's own knowledge base."""

import pytest
import torch

from dim import DIMModel, DIMProcessor
from dim.lexical_dim import LEXICAL_FEATURES
from dim.linking.linker import DIMLinker


def model_with_prior(folder):
    """A model whose lexical prior has an effect."""
    torch.manual_seed(0)
    model = DIMModel.from_pretrained(folder, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    torch.nn.init.normal_(model.lexical_prior.output_weight)
    torch.nn.init.normal_(model.lexical_prior.hidden.weight)
    return model


@pytest.fixture(scope="module", params=["prior", "vectors alone"])
def dim(request, tiny_dim_dir):
    """The model and its processor."""
    made = model_with_prior(tiny_dim_dir) if request.param == "prior" else DIMModel.from_pretrained(tiny_dim_dir)
    return made.eval(), DIMProcessor.from_pretrained(tiny_dim_dir)


@pytest.fixture
def linker(dim, kb):
    """A linker to the fixture `kb` of the module."""
    return DIMLinker(*dim, kb)
