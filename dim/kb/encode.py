"""Encoding a knowledge base: only what changed, by several processes, and on from where it was stopped."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from accelerate.utils import gather
from tqdm.auto import tqdm

from dim.common.unreadable_pictures import UnreadablePictures
from dim.encoding.encode import BATCH_SIZE, encode_entities
from dim.encoding.loading import fingerprint
from dim.errors import DIMError
from dim.kb.rows import CONTENT, vector_arrays, vector_schema
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor

if TYPE_CHECKING:
    from dim.kb.store import KnowledgeBase

PART_ROWS = 4096  # encoded between two commits: what a kill costs at most
_READ = ("id", "name", "description", "images")


def encode_entities_of(
    kb: "KnowledgeBase",
    model: DIMModel,
    processor: DIMProcessor,
    *,
    batch_size: int = BATCH_SIZE,
    num_workers: int = 0,
    part_rows: int = PART_ROWS,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> int:
    """Encodes the rows that have no vector of this model, or another name, description or picture than when encoded.

    Every `part_rows` rows are one commit, so after a kill the next call goes on. Rows that others add or change
    meanwhile are left for the next call. Started by `accelerate launch`, the processes share each part, and the first
    one writes. A picture that cannot be read is left out, and told in one warning of each process.

    Args:
        kb: The knowledge base.
        model: A DIM, on its device.
        processor: Its processor.
        batch_size: Rows encoded at a time by each process.
        num_workers: Processes that decode pictures and tokenise, for each process.
        part_rows: Rows of a commit.
        dtype: Of the model's arithmetic (autocast); the vectors are float32 all the same.
        progress: Whether to show a bar.

    Returns:
        How many rows were encoded.

    Raises:
        DIMError: If the model gives NaN or infinity, or a size is less than 1.
    """
    if batch_size < 1 or part_rows < 1:
        raise DIMError(f"Batches and parts must have at least 1 row, got {batch_size} and {part_rows}.")
    state = PartialState(cpu=model.device.type == "cpu")
    encoder, width = fingerprint(model, processor), model.config.projection_dim
    if state.is_main_process and kb.width != width:
        kb.set_width(width)
    state.wait_for_everyone()
    kb.refresh()
    before = kb.checkout(kb.version)
    pending = before.pending(encoder)
    state.wait_for_everyone()  # nobody writes before everybody knows what there is to do
    unreadable = UnreadablePictures()
    encode = partial(encode_entities, batch_size=batch_size, num_workers=num_workers, unreadable=unreadable)
    hidden = not (progress and state.is_main_process)
    with tqdm(total=len(pending), desc="encoding", unit="entity", disable=hidden) as bar:
        for start in range(0, len(pending), part_rows):
            part = before.take(pending[start : start + part_rows], CONTENT.names)
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
    if state.is_main_process and len(pending):
        kb.finish(progress)
    state.wait_for_everyone()
    kb.refresh()
    return len(pending)


def _gathered(state: PartialState, vectors: torch.Tensor, count: int) -> torch.Tensor:
    """The vectors of all processes, in the order of the rows."""
    if state.num_processes == 1:
        return vectors
    size = -(-count // state.num_processes)
    padded = vectors.new_zeros(size, vectors.shape[1])
    padded[: len(vectors)] = vectors
    parts = gather(padded.to(state.device)).cpu().split(size)
    shares = np.array_split(np.arange(count), state.num_processes)
    return torch.cat([part[: len(share)] for part, share in zip(parts, shares, strict=True)])


def encoded(rows: pa.Table, vectors: np.ndarray, encoder: str) -> pa.Table:
    """Rows with their vectors, and with the hash of what was encoded, so that these can be told stale.

    Args:
        rows: Whole rows, without vectors.
        vectors: `(N, D)`, float32.
        encoder: Fingerprint of the model.

    Returns:
        The rows as `KnowledgeBase.write_vectors` takes them.
    """
    arrays = vector_arrays(vectors)
    columns = {"encoder": pa.array([encoder] * len(rows)), "encoded_hash": rows["content_hash"], **arrays}
    for field in vector_schema(vectors.shape[1]):
        rows = rows.append_column(field, columns[field.name])
    return rows


__all__ = ["PART_ROWS", "encode_entities_of", "encoded"]
