"""Dense search: exact in float32 while the vectors fit a memory budget, by 8-bit codes beyond; on a GPU if there is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dim.errors import DIMError
from dim.search.texts import match_keys

BUDGET = 256 << 20  # bytes of float32 vectors that are kept in memory
EXACT, CODES = "exact", "8-bit codes"
_CPU = torch.device("cpu")
_SPARE = 50  # additional rows that are found by codes and scored again, for 0.9999 of the best 100
_BLOCK_CELLS = 16_000_000
_GPU_BLOCK_CELLS = 250_000_000  # 1 GB of scores
_GPU_SHARE = 0.25  # of a GPU's memory that the vectors may fill
_READ_ROWS = 16_384  # vectors read at a time
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
    codes are compared in integers, and the best rows are scored again by their float32 vectors, read from the disk. A
    GPU holds float32 vectors up to a quarter of its memory, and searches them there.

    Args:
        rows: Indices of the rows that have a vector, ascending `(N,)`.
        keys: Their keys `(N,)`, int64.
        encoders: Fingerprints of the models that encoded them.
        values: The vectors, float32, or codes, int8 `(N, D)`.
        scales: Scales of the codes `(N,)`; `None` for vectors.
        fetch: Reads columns of rows by index.
    """

    rows: np.ndarray
    keys: np.ndarray
    encoders: frozenset[str]
    values: Tensor
    scales: Tensor | None
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
        """
        if not kb.width:
            return None
        valid, keys, encoders = kb.encoded()
        rows = np.flatnonzero(valid)
        if len(rows) == 0:
            return None
        keys = keys[rows]
        held = _fits(device, len(kb) * kb.width * 4)
        coded = not held and method_for(len(kb), kb.width) == CODES
        values = torch.empty(len(rows), kb.width, dtype=torch.int8 if coded else torch.float32,
                             device=device if held else _CPU)  # fmt: skip
        scales = torch.empty(len(rows)) if coded else None
        made = cls(rows, keys, encoders, values, scales, kb.take)
        columns = ["code", "scale"] if coded else ["vector"]
        if before is not None and len(encoders) == 1 and before._like(made):
            now, new = match_keys(before.keys, keys)
            if len(new) <= _SHARE * len(keys):
                kept = np.flatnonzero(now >= 0)
                made._copy(torch.from_numpy(now[kept]), before, kept)
                if len(new):
                    made._fill(new, kb.take(rows[new], columns))
                return made
        start = 0
        for batch in kb.batches(columns, _READ_ROWS):
            here = valid[start : start + len(batch)]
            done = int(np.searchsorted(rows, start))
            made._fill(np.arange(done, done + here.sum()), pa.table(batch).filter(pa.array(here)))
            start += len(batch)
        return made

    def _like(self, other: "DenseSearch") -> bool:
        """Whether both searches hold vectors of the same encoders, width, type and device."""
        mine, theirs = self.values, other.values
        same = (self.encoders, mine.shape[1], mine.dtype, mine.device)
        return same == (other.encoders, theirs.shape[1], theirs.dtype, theirs.device)

    def _copy(self, indices: Tensor, before: "DenseSearch", kept: np.ndarray) -> None:
        """Copies the `kept` vectors, or codes and scales, of an earlier search to these indices."""
        for mine, old in ((self.values, before.values), (self.scales, before.scales)):
            if mine is not None and old is not None:
                same = old if len(kept) == len(old) else old[torch.from_numpy(kept).to(old.device)]
                mine.index_copy_(0, indices.to(mine.device), same)

    def _fill(self, indices: np.ndarray, table: pa.Table) -> None:
        """Sets the vectors, or codes and scales, at these indices."""
        start = 0
        column = table["vector" if self.scales is None else "code"]
        for chunk in column.chunks:
            part = np.array(chunk.flatten()).reshape(len(chunk), -1)
            self.values[indices[start : start + len(chunk)]] = torch.from_numpy(part).to(self.values.device)
            start += len(chunk)
        if self.scales is not None:
            self.scales[indices] = torch.from_numpy(np.array(table["scale"].to_numpy(), np.float32))

    @property
    def method(self) -> str:
        """How the vectors are searched: `EXACT` or `CODES`."""
        return EXACT if self.scales is None else CODES

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
        queries = queries.detach().to(self.values.device, torch.float32)
        if len(self.rows) and queries.shape[1] != self.values.shape[1]:
            raise DIMError(
                f"The mentions' vectors have {queries.shape[1]} dimensions, the knowledge base's "
                f"{self.values.shape[1]}: another model encoded it."
            )
        cells = _GPU_BLOCK_CELLS if self.values.is_cuda else _BLOCK_CELLS
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
        if self.scales is not None or (self.rows[places] != rows).any():
            return None
        return self.values[torch.from_numpy(places).to(self.values.device)]

    def _block(self, queries: Tensor, k: int) -> Tensor:
        if self.scales is None:
            return torch.topk(queries @ self.values.T, k).indices
        steps = queries.abs().amax(1).clamp_min(1e-30) / 127
        codes = torch.round(queries / steps[:, None]).to(torch.int8)
        scores = torch._int_mm(self.values, codes.T.contiguous()) * self.scales[:, None]  # (N, M), float32
        near = torch.topk(scores.T, min(k + _SPARE, len(self.rows))).indices  # (M, K)
        unique, inverse = torch.unique(near, return_inverse=True)
        vectors = vectors_of(self.fetch(self.rows[unique.numpy()], ["vector"]))
        exact = torch.einsum("md,mkd->mk", queries, vectors[inverse])
        return near.gather(1, torch.topk(exact, k).indices)


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
