"""Flat search over 8-bit codes against all products, computed one by one."""

import builtins

import numpy as np
import pytest

pytest.importorskip("faiss", reason="search over codes needs FAISS")

from dim.errors import DIMError
from dim.kb.rows import quantised
from dim.search.codes import CodeIndex


def index_of(vectors, step=None):
    codes, scales = quantised(vectors)
    index = CodeIndex(*vectors.shape, float(scales.max()) if step is None else step)
    index.set(np.arange(len(vectors)), codes, scales)
    return index


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_integer_products_are_exact():
    """Vectors and queries that are their own codes: nothing is rounded, so ranks are those of the products."""
    draws = np.random.default_rng(1)
    vectors, queries = (draws.integers(-126, 127, size).astype(np.float32) for size in ((300, 16), (20, 16)))
    vectors[:, 0], queries[:, 0] = 127, -127  # the largest value, so that the scale is 1
    found = index_of(vectors).search(queries, 300)
    products = queries @ vectors.T
    assert (np.take_along_axis(products, found, 1) == -np.sort(-products, 1)).all()
    assert (np.sort(found, 1) == np.arange(300)).all()


def test_nearly_all_of_the_best_are_found_with_half_again_as_many():
    vectors, queries = draw(5000, 64), draw(50, 64, seed=2)
    vectors *= 1 + np.random.default_rng(3).random((5000, 1), np.float32)  # scales of their own
    found = index_of(vectors).search(queries, 150)
    best = np.argsort(-(queries @ vectors.T), 1)[:, :100]
    assert np.mean([len(set(row) & set(wanted)) for row, wanted in zip(found, best, strict=True)]) > 99.9


def test_copied_vectors_are_those_of_the_other_index():
    vectors, queries = draw(40, 8), draw(5, 8, seed=4)
    whole = index_of(vectors)
    parts = CodeIndex(40, 8, whole.step)
    parts.copy(np.arange(0, 40, 2), whole, np.arange(0, 40, 2))
    codes, scales = quantised(vectors[1::2])
    parts.set(np.arange(1, 40, 2), codes, scales)
    assert (parts.search(queries, 40) == whole.search(queries, 40)).all()


def test_zeros_are_found_where_they_belong():
    vectors = np.array([[1, 0], [0, 0], [-1, 0]], np.float32)
    assert index_of(vectors).search(np.array([[2, 1]], np.float32), 3).tolist() == [[0, 1, 2]]
    assert sorted(index_of(vectors).search(np.zeros((1, 2), np.float32), 3)[0]) == [0, 1, 2]


def test_without_faiss_there_is_a_line(monkeypatch):
    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: (_ for _ in ()).throw(ImportError(name))
                        if name == "faiss" else real(name, *rest))  # fmt: skip
    with pytest.raises(DIMError, match=r"pip install 'dim-mel\[kb\]'"):
        CodeIndex(1, 1, 1.0)
