"""A ledger of a language model's answers."""

import pytest

from dim.enhancement.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger in the test's folder."""
    ledger = Ledger(tmp_path / "answers.sqlite")
    yield ledger
    ledger.close()
