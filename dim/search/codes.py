"""Flat search over 8-bit codes, by FAISS."""

from typing import Any

import numpy as np

from dim.errors import DIMError

_ZERO = 128  # what FAISS stores for a code of 0


class CodeIndex:
    """Inner products of queries with 8-bit codes of vectors, all compared (`IndexScalarQuantizer` of FAISS).

    A stored vector has a step of its own, `vector ~ code * scale`; here, all vectors have the largest one of them, and
    queries are rounded to 8 bits, too. What is found should be scored again by the vectors.

    Args:
        count: Number of vectors `N`; they are 0 until they are set.
        width: Their dimensions `D`.
        step: The largest scale.

    Raises:
        DIMError: If FAISS is not installed.

    Example:

        >>> index = CodeIndex(count=3, width=2, step=0.5)
        >>> index.set(np.array([0, 2]), np.array([[100, 0], [0, 100]], np.int8), np.array([0.5, 0.25]))
        >>> index.search(np.array([[1.0, 1.0], [-1.0, 1.0]], np.float32), k=2).tolist()
        [[0, 2], [2, 1]]
    """

    def __init__(self, count: int, width: int, step: float):
        faiss = _faiss()
        self._index = faiss.IndexScalarQuantizer(
            width, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        self._index.codes.resize(count * width)
        self._index.ntotal = count
        self._codes = faiss.rev_swig_ptr(self._index.codes.data(), count * width).reshape(count, width)  # no copy
        self._codes[:] = _ZERO
        self.step = step

    @property
    def shape(self) -> tuple[int, int]:
        """Number of vectors and their dimensions, `(N, D)`."""
        return self._codes.shape

    def set(self, places: np.ndarray, codes: np.ndarray, scales: np.ndarray) -> None:
        """Sets vectors.

        Args:
            places: Their indices `(n,)`.
            codes: Their codes `(n, D)`, int8.
            scales: The scale of each `(n,)`, at most `step`.
        """
        factors = scales.astype(np.float32) / np.float32(self.step)
        self._codes[places] = np.rint(codes * factors[:, None] + _ZERO)

    def copy(self, places: np.ndarray, other: "CodeIndex", kept: np.ndarray) -> None:
        """Sets the vectors at `places` to those of another index with the same step, at `kept`."""
        self._codes[places] = other._codes[kept]

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Finds the vectors with the highest inner products.

        Args:
            queries: `(M, D)`, float32.
            k: Number of vectors, at most `N`.

        Returns:
            Indices `(M, k)`, best first.
        """
        largest = np.abs(queries).max(axis=1, keepdims=True)
        rounded = np.rint(queries / np.where(largest > 0, largest, 1) * np.float32(127))
        return self._index.search(np.ascontiguousarray(rounded, np.float32), k)[1]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DIMError("Search among so many vectors needs FAISS: pip install 'dim-mel[kb]'.") from error
    return faiss
