"""The loss against a naive loop in float64, the paper's formula and finite differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.losses_dim import n_pair_loss, squared_length


def naive_n_pair_loss(logits, labels, entity_ids):
    """The formula, term by term, in Python floats."""
    total = 0.0
    for scores, label in zip(logits.tolist(), labels.tolist(), strict=True):
        terms = [
            math.exp(score - scores[label])
            for column, score in enumerate(scores)
            if entity_ids[column] != entity_ids[label]
        ]
        total += math.log(1 + math.fsum(terms))
    return total / len(logits)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 4), st.integers(0, 10_000))
def test_equals_the_naive_loop(batch, pool, distinct, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, pool, generator=generator, dtype=torch.float64) * 5
    labels = torch.randint(pool, (batch,), generator=generator)
    ids = torch.randint(distinct, (pool,), generator=generator)
    expected = naive_n_pair_loss(logits, labels, ids.tolist())
    assert n_pair_loss(logits, labels, ids).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_equals_cross_entropy_without_copies():
    logits, labels = torch.randn(6, 11, dtype=torch.float64), torch.randint(11, (6,))
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(n_pair_loss(logits, labels), expected)


def test_equals_the_papers_formula_on_vectors():
    queries, entities = torch.randn(4, 8, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    total = 0.0
    for i in range(4):
        inner = sum(math.exp(queries[i] @ entities[j] - queries[i] @ entities[i]) for j in range(4) if j != i)
        penalty = 0.02 * (queries[i].square().sum() + entities[i].square().sum()).item()
        total += math.log(1 + inner) + penalty
    loss = n_pair_loss(queries @ entities.T, torch.arange(4))
    loss = loss + 0.02 * (squared_length(queries) + squared_length(entities))
    assert loss.item() == pytest.approx(total / 4, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_huge_logits_stay_finite(dtype):
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]], dtype=dtype, requires_grad=True)
    loss = n_pair_loss(logits, torch.tensor([0, 1]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1e4, rel=1e-2)  # the mean of 0 and 2e4
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_gradient_by_finite_differences():
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    labels, ids = torch.tensor([0, 3, 3]), torch.tensor([7, 1, 7, 2, 1])
    assert torch.autograd.gradcheck(lambda x: n_pair_loss(x, labels, ids), (logits,))


def test_copies_of_the_gold_get_no_gradient():
    logits = torch.zeros(1, 3, requires_grad=True)
    n_pair_loss(logits, torch.tensor([0]), torch.tensor([4, 4, 5])).backward()
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 2] > 0


def test_hard_negatives_raise_the_loss():
    logits = torch.randn(4, 4)
    harder = torch.cat([logits, logits.max(1, keepdim=True).values], dim=1)
    assert n_pair_loss(harder, torch.arange(4)) > n_pair_loss(logits, torch.arange(4))


def test_one_entity_is_no_loss():
    assert n_pair_loss(torch.randn(3, 1), torch.zeros(3, dtype=torch.long)).item() == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 10_000))
def test_ignored_labels_have_no_part_as_in_cross_entropy(batch, pool, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, pool, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(pool, (batch,), generator=generator)
    labels[torch.rand(batch, generator=generator) < 0.5] = -100
    if (labels == -100).all():
        return
    loss = n_pair_loss(logits, labels)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, labels))
    loss.backward()
    assert logits.grad[labels == -100].abs().sum() == 0


def test_what_ignored_labels_hide_may_be_nan():
    logits, labels = torch.randn(3, 4), torch.tensor([1, -100, 2])
    logits[1] = torch.nan
    logits.requires_grad_()
    loss = n_pair_loss(logits, labels)
    torch.testing.assert_close(loss, n_pair_loss(logits[[0, 2]], labels[[0, 2]]))
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    vectors = torch.tensor([[3.0, 4.0], [torch.nan, 1.0], [1.0, 0.0]], requires_grad=True)
    length = squared_length(vectors, labels != -100)
    assert length == 13
    length.backward()
    assert vectors.grad.tolist() == [[3, 4], [0, 0], [1, 0]]


def test_only_ignored_labels_are_no_loss():
    logits = torch.randn(2, 3, dtype=torch.float16, requires_grad=True)
    loss = n_pair_loss(logits, torch.tensor([-100, -100]))
    assert loss.item() == 0
    assert loss.dtype == torch.float32
    loss.backward()
    assert logits.grad.abs().sum() == 0
    assert squared_length(torch.zeros(0, 3)) == 0


@pytest.mark.parametrize(
    ("shape", "labels", "ids", "message"),
    [
        ((3,), [0], None, r"logits must have shape \(B, E\)"),
        ((0, 3), [], None, "B > 0"),
        ((2, 3), [0], None, r"labels must have shape \(2,\)"),
        ((2, 3), [0, 3], None, r"labels must lie in \[0, 3\)"),
        ((2, 3), [-1, 0], None, r"labels must lie in \[0, 3\)"),
        ((2, 3), [0, 1], [1, 2], r"entity_ids must have shape \(3,\)"),
    ],
)
def test_bad_input_is_refused(shape, labels, ids, message):
    ids = None if ids is None else torch.tensor(ids)
    with pytest.raises(ValueError, match=message):
        n_pair_loss(torch.zeros(shape), torch.tensor(labels, dtype=torch.long), ids)
