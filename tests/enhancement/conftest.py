"""A language model's server on this machine, and a ledger of its answers."""

import pytest
from openai_stub import KEY, OpenAIStub

from dim.enhancement.ledger import Ledger


@pytest.fixture
def stub(monkeypatch):
    """The server; requests carry `KEY`."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    stub = OpenAIStub()
    yield stub
    stub.stop()


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger in the test's folder."""
    ledger = Ledger(tmp_path / "answers.sqlite")
    yield ledger
    ledger.close()
