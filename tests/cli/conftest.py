"""A knowledge base of the tiny dataset, encoded by the tiny DIM, and how `dim link` begins with both."""

import pytest

from dim.cli.main import main


@pytest.fixture(scope="module")
def kb(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    """The folder of the knowledge base."""
    folder = tmp_path_factory.mktemp("cli") / "kb"
    assert main(["kb", "create", str(folder), "--from", str(tiny_mel_dir), "--model", str(tiny_dim_dir)]) == 0
    return folder


@pytest.fixture
def link(kb, tiny_dim_dir):
    """The first words of the command."""
    return ["link", "--model", str(tiny_dim_dir), "--kb", str(kb)]
