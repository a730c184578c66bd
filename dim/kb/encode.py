"""Encoding of a knowledge base: only changed rows, by several processes, and resumable."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from accelerate import PartialState
from accelerate.utils import gather
from tqdm.auto import tqdm

from dim.common.unreadable_pictures import UnreadablePictures
from dim.encoding.encode import BATCH_SIZE, encode_entities
from dim.encoding.loading import fingerprint
from dim.encoding.unused_pictures import warn_of_unused_pictures
from dim.errors import DIMError
from dim.kb.rows import CONTENT, vector_arrays, vector_schema
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor

if TYPE_CHECKING:
    from dim.kb.store import KnowledgeBase

PART_ROWS = 4096  # rows per commit: the work that a kill can lose
_READ = ("id", "name", "description", "images")


def encode_entities_of(
    kb: "KnowledgeBase",
    model: DIMModel,
    processor: DIMProcessor,
    *,
    batch_size: int = BATCH_SIZE,
    num_workers: int | None = None,
    part_rows: int = PART_ROWS,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> int:
    """Encodes the rows that have no vector of this model, or whose name, description or pictures changed since.

    Every `part_rows` rows are one commit, so the next call resumes after a kill. Rows that other processes add or
    change meanwhile are left for the next call. Under `accelerate launch`, the processes share each part, and the main
    process writes. A picture that cannot be read is left out; each process logs one warning about all of them.

    Args:
        kb: The knowledge base.
        model: A DIM, on its device.
        processor: Its processor.
        batch_size: Rows per batch, in each process.
        num_workers: Worker processes that decode pictures and tokenise, for each process; see `encode_entities`.
        part_rows: Rows per commit.
        dtype: Type of the model's arithmetic (autocast); the vectors are float32 in any case.
        progress: Whether to show a progress bar.

    Returns:
        The number of rows that were encoded.

    Raises:
        DIMError: If the model gives NaN or infinity, or a size is less than 1.
    """
    if batch_size < 1 or part_rows < 1:
        raise DIMError(f"Batches and parts must have at least 1 row, got {batch_size} and {part_rows}.")
    state = PartialState(cpu=model.device.type == "cpu")
    encoder, width = fingerprint(model, processor), model.config.vector_dim
    if state.is_main_process and kb.width != width:
        kb.set_width(width)
    state.wait_for_everyone()
    kb.refresh()
    before = kb.checkout(kb.version)
    pending = before.pending(encoder)
    state.wait_for_everyone()  # no process writes before all have read the pending rows
    unreadable = UnreadablePictures()
    encode = partial(encode_entities, batch_size=batch_size, num_workers=num_workers, unreadable=unreadable)
    hidden, pictured = not (progress and state.is_main_process), 0
    with tqdm(total=len(pending), desc="encoding", unit="entity", disable=hidden) as bar:
        for start in range(0, len(pending), part_rows):
            part = before.take(pending[start : start + part_rows], CONTENT.names)
            pictured += pc.sum(pc.greater(pc.list_value_length(part["images"]), 0)).as_py() or 0
            share = np.array_split(np.arange(len(part)), state.num_processes)[state.process_index]
            mine = part.select(_READ).take(share).to_pylist()
            vectors = torch.zeros(0, width)
            if mine:
                with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
                    vectors = encode(model, processor, mine)
            vectors = _gathered(state, vectors, len(part))
            if not torch.isfinite(vectors).all():
                row = int((~torch.isfinite(vectors)).any(dim=1).nonzero()[0])
                raise DIMError(f"The model gives NaN or infinity for the entity {part['id'][row].as_py()!r}.")
            if state.is_main_process:
                kb.write_vectors(encoded(part, vectors.numpy(), encoder))
            bar.update(len(part))
    unreadable.warn()
    if state.is_main_process:
        warn_of_unused_pictures(model.config, entities=pictured)
    if state.is_main_process and len(pending):
        kb.finish(progress)
    state.wait_for_everyone()
    kb.refresh()
    return len(pending)


def _gathered(state: PartialState, vectors: torch.Tensor, count: int) -> torch.Tensor:
    """Gathers the vectors of all processes, in the order of the rows."""
    if state.num_processes == 1:
        return vectors
    size = -(-count // state.num_processes)
    padded = vectors.new_zeros(size, vectors.shape[1])
    padded[: len(vectors)] = vectors
    parts = gather(padded.to(state.device)).cpu().split(size)
    shares = np.array_split(np.arange(count), state.num_processes)
    return torch.cat([part[: len(share)] for part, share in zip(parts, shares, strict=True)])


def encoded(rows: pa.Table, vectors: np.ndarray, encoder: str) -> pa.Table:
    """Adds vectors to rows, and the hash of the encoded content, which shows whether a vector is up to date.

    Args:
        rows: Complete rows, without vectors.
        vectors: Their vectors `(N, D)`, float32.
        encoder: Fingerprint of the model.

    Returns:
        The rows, for `KnowledgeBase.write_vectors`.
    """
    arrays = vector_arrays(vectors)
    columns = {"encoder": pa.array([encoder] * len(rows)), "encoded_hash": rows["content_hash"], **arrays}
    for field in vector_schema(vectors.shape[1]):
        rows = rows.append_column(field, columns[field.name])
    return rows
