"""Texts and pictures prepared once for all epochs: tokenised or encoded texts, decoded or encoded pictures.

A bank gives the tensors of a batch by indexing, without a loop over rows and without decoding.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from dim.common.files import atomic_file, reserve
from dim.common.pictures import PictureSource, load_picture
from dim.common.unreadable_pictures import UnreadablePictures
from dim.encoding.batching import longest_first
from dim.errors import PictureError
from dim.modeling_dim import DIMModel
from dim.pictures_dim import prepare_picture
from dim.processing_dim import DIMProcessor
from dim.towers_dim import to_device

_GPU_SHARE = 0.1  # of a GPU's free memory that the vectors of one bank may fill


class TextBank:
    """Tokenised texts, equal ones stored once; after `encode`, the text tower's pooled vectors instead.

    Args:
        ids: Token ids of each text, without padding.
        pad_token_id: Token id that pads the shorter texts of a batch.
        pad_to: Length to which every batch is padded; that of its longest text by default.
    """

    def __init__(self, ids: Sequence[Sequence[int]], pad_token_id: int, pad_to: int | None = None):
        unique: dict[tuple[int, ...], int] = {}
        self.rows = torch.tensor([unique.setdefault(tuple(row), len(unique)) for row in ids], dtype=torch.long)
        self.lengths = torch.tensor([len(row) for row in unique], dtype=torch.long)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.flat = torch.tensor([token for row in unique for token in row], dtype=torch.long)
        self.pad_token_id = pad_token_id
        self.pad_to = pad_to
        self.pooled: Tensor | None = None

    def tokens(self, unique_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Padded ids and mask `(B, T)` of texts, by their indices among the unique ones."""
        lengths = self.lengths[unique_rows]
        columns = torch.arange(self.pad_to or int(lengths.max()))
        mask = columns < lengths[:, None]
        ids = self.flat[(self.starts[unique_rows][:, None] + columns).clamp(max=len(self.flat) - 1)]
        return ids.masked_fill(~mask, self.pad_token_id), mask.long()

    def fetch(self, rows: Tensor, prefix: str) -> dict[str, Tensor]:
        """The model's inputs for the texts at indices `rows` `(B,)`; their names begin with `prefix`."""
        unique_rows = self.rows[rows]
        if self.pooled is not None:
            return {f"{prefix}_pooled": _taken(self.pooled, unique_rows)}
        ids, mask = self.tokens(unique_rows)
        return {f"{prefix}_input_ids": ids, f"{prefix}_attention_mask": mask}

    def encode(self, model: DIMModel, batch_size: int, cache: Path, store: bool = True, hold: bool = False) -> None:
        """Encodes every text by the text tower, or reads the cached vectors of the same tower and texts.

        Args:
            model: A model; its text tower is used.
            batch_size: Texts encoded at a time.
            cache: Folder of cached vectors, named by a fingerprint of tower and texts.
            store: Whether to cache the vectors; one process of a run does.
            hold: Whether to hold the vectors on the model's device, if it is a GPU with the memory for them; worker
                processes could not read them there.
        """
        content = (self.flat, self.lengths, torch.tensor([self.pad_to or 0, self.pad_token_id]))
        path = cache / f"texts-{_fingerprint(model, 'text', content)}.safetensors"
        batches = [torch.tensor(rows) for rows in longest_first(self.lengths.tolist(), batch_size)]

        def vectors(rows: Tensor) -> Tensor:
            ids, mask = self.tokens(rows)
            return model.pool_texts(ids.to(model.device), mask.to(model.device))

        pooled = _cached(path, "encoding texts", vectors, batches, store)  # in the order of the batches
        self.pooled = _held(pooled[torch.cat(batches).argsort()], model.device, hold)


class PictureBank:
    """Decoded pictures as 8-bit pixels at the tower's size; after `encode`, the vision tower's pooled vectors instead.

    Args:
        pixels: `(P, 3, h, w)`, 8 bits, resized and cropped by the image processor.
        image_processor: Its rescaling and normalisation turn pixels into the tower's inputs.
        indices: Index in `pixels` of each of `N` pictures, -1 for one that cannot be read, `(N,)`.
    """

    def __init__(self, pixels: Tensor, image_processor: object, indices: Tensor):
        self.pixels, self.indices = pixels, indices
        self.factor = image_processor.rescale_factor if image_processor.do_rescale else 1.0  # type: ignore[attr-defined]
        normalise = image_processor.do_normalize  # type: ignore[attr-defined]
        mean = image_processor.image_mean if normalise else [0.0] * 3  # type: ignore[attr-defined]
        std = image_processor.image_std if normalise else [1.0] * 3  # type: ignore[attr-defined]
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        self.pooled: Tensor | None = None

    @classmethod
    def build(cls, load: Sequence[Callable[[], PictureSource]], processor: DIMProcessor, path: Path) -> "PictureBank":
        """Decodes pictures in threads into a memory-mapped file.

        Args:
            load: Functions that return the source of each picture, in any form that `load_picture` takes.
            processor: Its image processor resizes and crops.
            path: The file; it is overwritten.

        Returns:
            The bank. Pictures that cannot be read are masked wherever they are asked for, and reported together.
        """

        def decode(row: int) -> np.ndarray | PictureError:
            try:
                image = prepare_picture(load_picture(load[row]()), processor.image_processor)
            except PictureError as error:
                return error
            pixels = processor.image_processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
            return np.asarray(pixels["pixel_values"][0]).astype(np.uint8)  # (3, h, w)

        path.parent.mkdir(parents=True, exist_ok=True)
        pixels: np.memmap | None = None
        indices, count = torch.full((len(load),), -1), 0
        unreadable = UnreadablePictures()
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(decode, range(len(load)))
            for row, picture in enumerate(tqdm(decoded, total=len(load), desc="pictures", disable=not load)):
                if isinstance(picture, PictureError):
                    unreadable.add(picture)
                    continue
                if pixels is None:
                    reserve(path, len(load) * picture.nbytes)
                    pixels = np.memmap(path, np.uint8, "r+", shape=(len(load), *picture.shape))
                pixels[count] = picture
                indices[row], count = count, count + 1
        unreadable.warn()
        readable = torch.zeros(0, 3, 1, 1, dtype=torch.uint8) if pixels is None else torch.from_numpy(pixels[:count])
        return cls(readable, processor.image_processor, indices)

    def rows_of(self, sources: Tensor) -> Tensor:
        """Indices in `pixels` of pictures by their indices among the sources; -1 for one that cannot be read."""
        return torch.cat([self.indices, torch.tensor([-1])])[sources]

    def fetch(self, rows: Tensor, prefix: str, change: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """The model's inputs for the pictures at indices `rows`, of shape `(B,)` or `(E, N)`; -1 for no picture.

        `change` is applied to the pictures, `(P, 3, h, w)` in `[0, 1]`, before normalisation.
        """
        mask = rows >= 0
        if self.pooled is not None:
            return {f"{prefix}image_pooled": _taken(self.pooled, rows.clamp(min=0)), f"{prefix}pixel_mask": mask}
        if not mask.any():
            return {}
        present = self.pixels[rows[mask]].float().mul_(self.factor)
        if change is not None:
            present = change(present)
        present.sub_(self.mean).div_(self.std)  # in place: these are hundreds of megabytes
        if len(present) == mask.numel():
            pixels = present.view(*rows.shape, *present.shape[1:])
        else:
            pixels = torch.zeros(*rows.shape, *present.shape[1:])
            pixels[mask] = present
        return {f"{prefix}pixel_values": pixels, f"{prefix}pixel_mask": mask}

    def _normalised(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std

    def encode(self, model: DIMModel, batch_size: int, cache: Path, store: bool = True, hold: bool = False) -> None:
        """Encodes every picture by the vision tower, or reads the cached vectors; arguments as [`TextBank.encode`]."""
        path = cache / f"pictures-{_fingerprint(model, 'vision', (self.pixels, self.mean, self.std))}.safetensors"

        def vectors(rows: Tensor) -> Tensor:
            return model.pool_pictures(self._normalised(self.pixels[rows].float() * self.factor).to(model.device))

        batches = torch.arange(len(self.pixels)).split(batch_size)
        self.pooled = _held(_cached(path, "encoding pictures", vectors, batches, store), model.device, hold)


def _held(pooled: Tensor, device: torch.device, hold: bool) -> Tensor:
    """The vectors, on the GPU if they are to be held there and fit."""
    if not hold or device.type != "cuda" or pooled.nbytes > _GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return pooled
    return pooled.to(device)


def _taken(pooled: Tensor, rows: Tensor) -> Tensor:
    return pooled[to_device(rows, pooled.device)]


def _fingerprint(model: DIMModel, side: str, content: Sequence[Tensor]) -> str:
    """Hash of a tower's config and weights and of its inputs."""
    digest = hashlib.blake2b(digest_size=12)
    config = getattr(model.config, f"{side}_config").to_dict()
    digest.update(json.dumps([config, getattr(model.config, f"{side}_pooling")], sort_keys=True, default=str).encode())
    for tensor in (*getattr(model, f"{side}_model").state_dict().values(), *content):
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.inference_mode()
def _cached(
    path: Path, what: str, vectors: Callable[[Tensor], Tensor], batches: Sequence[Tensor], store: bool
) -> Tensor:
    """Vectors of the rows of all batches, from the file if it exists, otherwise computed."""
    if path.is_file():
        return load_file(path)["pooled"]
    pooled = torch.cat([vectors(rows).float().cpu() for rows in tqdm(batches, desc=what, leave=False)])
    if store:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            save_file({"pooled": pooled}, temporary)
    return pooled
