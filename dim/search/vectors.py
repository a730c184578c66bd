"""Dense search: exact in float32 while the vectors fit a memory budget, by 8-bit codes beyond; on a GPU if there is."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dim.errors import DIMError
from dim.search.codes import CodeIndex
from dim.search.texts import match_keys

BUDGET = 256 << 20  # bytes of float32 vectors that are kept in memory
EXACT, CODES = "exact", "8-bit codes"
_CPU = torch.device("cpu")
_SPARE = 50  # additional rows that are found by codes and scored again, for 0.9999 of the best 100
_BLOCK_CELLS = 16_000_000
_GPU_BLOCK_CELLS = 250_000_000  # 1 GB of scores
_GPU_SHARE = 0.25  # of a GPU's memory that the vectors may fill
_READ_ROWS = 16_384  # vectors read at a time
_ROUNDING = 4  # steps of codes are powers of the fourth root of 2
_SHARE = 0.1  # of new vectors, above which all vectors are read again

Fetch = Callable[[np.ndarray, list[str]], pa.Table]


class VectorSource(Protocol):
    """A source of vectors, such as `dim.kb.view.EntityView`."""

    @property
    def width(self) -> int:
        """Dimensions of the vectors, 0 if there are none."""

    def __len__(self) -> int: ...

    def encoded(self) -> tuple[np.ndarray, np.ndarray, frozenset[str]]:
        """Whether each row has an up-to-date vector `(N,)`, the keys of all rows `(N,)`, int64, and the encoders."""

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Yields every row in order, at most `size` at a time."""

    def take(self, numbers: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Returns rows by index."""


@dataclass(frozen=True)
class DenseSearch:
    """Dot products of queries with the vectors of a knowledge base.

    Within `BUDGET`, the vectors are in memory as float32. Beyond, their 8-bit codes are, a quarter of the size: all
    codes are compared, and the best rows are scored again by their float32 vectors, read from the disk. A GPU holds
    float32 vectors up to a quarter of its memory, and searches them there.

    Args:
        rows: Indices of the rows that have a vector, ascending `(N,)`.
        keys: Their keys `(N,)`, int64.
        encoders: Fingerprints of the models that encoded them.
        values: The vectors `(N, D)`, float32, or their codes.
        fetch: Reads columns of rows by index.
    """

    rows: np.ndarray
    keys: np.ndarray
    encoders: frozenset[str]
    values: Tensor | CodeIndex
    fetch: Fetch

    @classmethod
    def load(
        cls, kb: VectorSource, before: "DenseSearch | None" = None, device: torch.device = _CPU
    ) -> "DenseSearch | None":
        """Reads the up-to-date vectors of a knowledge base.

        Args:
            kb: The knowledge base.
            before: The search over an earlier version, from which unchanged vectors are copied.
            device: Where to hold the vectors if it is a GPU with the memory for them; otherwise, the CPU holds them.

        Returns:
            The search, or `None` if nothing is encoded.

        Raises:
            DIMError: If there are so many vectors that they need FAISS, and it is not installed.
        """
        if not kb.width:
            return None
        valid, keys, encoders = kb.encoded()
        rows = np.flatnonzero(valid)
        if len(rows) == 0:
            return None
        keys, shape = keys[rows], (len(rows), kb.width)
        held = _fits(device, len(kb) * kb.width * 4)
        coded = not held and method_for(len(kb), kb.width) == CODES
        values: Tensor | CodeIndex
        values = CodeIndex(*shape, _step(kb, valid)) if coded else torch.empty(shape, device=device if held else _CPU)
        made = cls(rows, keys, encoders, values, kb.take)
        if before is not None and len(encoders) == 1 and made._may_copy(before):
            now, new = match_keys(before.keys, keys)
            if len(new) <= _SHARE * len(keys):
                kept = np.flatnonzero(now >= 0)
                made._copy(now[kept], before, kept)
                if len(new):
                    made._fill(new, kb.take(rows[new], made._columns))
                return made
        start = 0
        for batch in kb.batches(made._columns, _READ_ROWS):
            here = valid[start : start + len(batch)]
            done = int(np.searchsorted(rows, start))
            made._fill(np.arange(done, done + here.sum()), pa.table(batch).filter(pa.array(here)))
            start += len(batch)
        return made

    @property
    def _columns(self) -> list[str]:
        return ["code", "scale"] if isinstance(self.values, CodeIndex) else ["vector"]

    def _may_copy(self, before: "DenseSearch") -> bool:
        """Whether an earlier search holds vectors of the same encoders, width, kind and device."""
        mine, old = self.values, before.values
        if self.encoders != before.encoders or mine.shape[1] != old.shape[1]:
            return False
        if isinstance(mine, CodeIndex) and isinstance(old, CodeIndex):
            return mine.step == old.step
        return isinstance(mine, Tensor) and isinstance(old, Tensor) and mine.device == old.device

    def _copy(self, places: np.ndarray, before: "DenseSearch", kept: np.ndarray) -> None:
        """Copies the `kept` vectors of an earlier search to these places."""
        mine, old = self.values, before.values
        if isinstance(mine, CodeIndex) and isinstance(old, CodeIndex):
            mine.copy(places, old, kept)
        elif isinstance(mine, Tensor) and isinstance(old, Tensor):
            same = old if len(kept) == len(old) else old[torch.from_numpy(kept).to(old.device)]
            mine.index_copy_(0, torch.from_numpy(places).to(mine.device), same)

    def _fill(self, places: np.ndarray, table: pa.Table) -> None:
        """Sets the vectors at these places."""
        if isinstance(self.values, CodeIndex):
            self.values.set(places, _matrix(table["code"]), table["scale"].to_numpy())
        else:
            self.values[places] = torch.from_numpy(_matrix(table["vector"])).to(self.values.device)

    @property
    def method(self) -> str:
        """How the vectors are searched: `EXACT` or `CODES`."""
        return CODES if isinstance(self.values, CodeIndex) else EXACT

    @torch.inference_mode()
    def search(self, queries: Tensor, k: int) -> np.ndarray:
        """Finds the rows with the highest dot products.

        Args:
            queries: Mention vectors `(M, D)`, float32.
            k: Number of rows.

        Returns:
            Row indices `(M, min(k, N))`, best first.

        Raises:
            DIMError: If the queries have another width.
        """
        queries = queries.detach().to(torch.float32)
        if len(self.rows) and queries.shape[1] != self.values.shape[1]:
            raise DIMError(
                f"The mentions' vectors have {queries.shape[1]} dimensions, the knowledge base's "
                f"{self.values.shape[1]}: another model encoded it."
            )
        cells = _GPU_BLOCK_CELLS if isinstance(self.values, Tensor) and self.values.is_cuda else _BLOCK_CELLS
        height = max(1, cells // max(1, len(self.rows)))
        blocks = [self._block(queries[start : start + height], min(k, len(self.rows)))
                  for start in range(0, len(queries), height)]  # fmt: skip
        found = torch.cat(blocks) if blocks else torch.zeros(0, 0, dtype=torch.int64)
        return self.rows[found.cpu().numpy()]

    def vectors(self, rows: np.ndarray) -> Tensor | None:
        """Returns the float32 vectors of rows `(R, D)` where they are held; `None` if one of them is not.

        Args:
            rows: Indices of rows of the same version of the knowledge base `(R,)`.
        """
        places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        if isinstance(self.values, CodeIndex) or (self.rows[places] != rows).any():
            return None
        return self.values[torch.from_numpy(places).to(self.values.device)]

    def _block(self, queries: Tensor, k: int) -> Tensor:
        if isinstance(self.values, Tensor):
            return torch.topk(queries.to(self.values.device) @ self.values.T, k).indices
        queries = queries.cpu()
        near = torch.from_numpy(self.values.search(queries.numpy(), min(k + _SPARE, len(self.rows))))  # (M, K)
        unique, inverse = torch.unique(near, return_inverse=True)
        vectors = vectors_of(self.fetch(self.rows[unique.numpy()], ["vector"]))
        exact = torch.einsum("md,mkd->mk", queries, vectors[inverse])
        return near.gather(1, torch.topk(exact, k).indices)


def _step(kb: VectorSource, valid: np.ndarray) -> float:
    """The largest scale of a valid vector, rounded up so that it stays the same when a few vectors change."""
    largest, start = 1e-30, 0
    for batch in kb.batches(["scale"], _READ_ROWS):
        scales = batch["scale"].to_numpy(zero_copy_only=False)[valid[start : start + len(batch)]]
        largest, start = max(largest, float(scales.max(initial=0.0))), start + len(batch)
    return 2 ** (math.ceil(_ROUNDING * math.log2(largest)) / _ROUNDING)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column of lists of one length, without nulls, as an array `(N, D)`."""
    return np.array(column.combine_chunks().flatten()).reshape(len(column), column.type.list_size)


def vectors_of(table: pa.Table) -> Tensor:
    """Returns the column `vector`, which must have no nulls, as a float32 tensor `(N, D)`."""
    column = table["vector"]
    vectors, start = torch.empty(len(column), column.type.list_size), 0
    for chunk in column.chunks:
        vectors[start : start + len(chunk)] = torch.from_numpy(np.array(chunk.flatten())).view(len(chunk), -1)
        start += len(chunk)
    return vectors


def _fits(device: torch.device, size: int) -> bool:
    """Whether `device` is a GPU that can hold `size` bytes of vectors."""
    return device.type == "cuda" and size <= _GPU_SHARE * torch.cuda.get_device_properties(device).total_memory


def method_for(count: int, width: int) -> str:
    """Returns how `count` vectors are searched on a CPU: `none`, `exact` or `8-bit codes`."""
    if not count * width:
        return "none"
    return EXACT if count * width * 4 <= BUDGET else CODES
