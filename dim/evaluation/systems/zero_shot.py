"""Pretrained towers as systems, without training for linking."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dim.common.ids import index_of
from dim.common.pictures import load_picture
from dim.common.regions import cut_out
from dim.encoding.batching import longest_first
from dim.encoding.mention import column
from dim.errors import DIMError
from dim.evaluation.systems.base import Block, parts
from dim.modeling_dim import DIMModel
from dim.pictures_dim import prepare_picture
from dim.processing_dim import DIMProcessor


class ZeroShotText:
    """A pretrained text tower: ``cos(mention, name) + cos(sentence, description)``.

    Args:
        tower: Folder or Hub name of a text encoder.
        entities: The knowledge base.
        batch_size: Number of texts in a batch.
        progress: Whether to show progress bars.

    Raises:
        DIMError: If there is no such encoder.
    """

    name = "zero-shot text"
    probabilistic = False

    def __init__(self, tower: str | Path, entities: Sequence[dict], batch_size: int = 64, progress: bool = False):
        self._towers, self._entities = Towers(tower, batch_size, progress), entities

    @cached_property
    def _keys(self) -> Tensor:
        sides = [[text or "" for text in column(self._entities, name)] for name in ("name", "description")]
        return torch.cat([self._towers.texts(texts) for texts in sides], 1)  # (E, 2D)

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]; `mention` and `sentence` are read."""
        sides = [self._towers.texts(list(column(mentions, name))) for name in ("mention", "sentence")]
        queries = torch.cat(sides, 1)  # (M, 2D)
        yield from _products(queries, self._keys)


class ZeroShotPicture:
    """A pretrained checkpoint with both towers, such as CLIP: the mention's picture against the entities' texts.

    Mentions without a picture score 0 with every entity, so all entities tie.

    Args:
        towers: Folder or Hub name of the checkpoint.
        entities: The knowledge base.
        batch_size: Number of texts or pictures in a batch.
        progress: Whether to show progress bars.

    Raises:
        DIMError: If there is no such checkpoint, or it has no vision tower.
    """

    name = "zero-shot picture to text"
    probabilistic = False

    def __init__(self, towers: str | Path, entities: Sequence[dict], batch_size: int = 64, progress: bool = False):
        self._towers, self._entities = Towers(towers, batch_size, progress), entities
        if not self._towers.model.config.uses_pictures:
            raise DIMError(f"{towers} has no vision tower: give a checkpoint with both, such as CLIP.")

    @cached_property
    def _keys(self) -> Tensor:
        pairs = zip(column(self._entities, "name"), column(self._entities, "description"), strict=True)
        return self._towers.texts([f"{name or ''}. {text or ''}" for name, text in pairs])  # (E, D)

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]; only `image` is read."""
        yield from _products(self._towers.pictures(mentions), self._keys)


class Towers:
    """Pretrained towers with their projections; unit vectors of texts and pictures.

    Args:
        source: Folder or Hub name.
        batch_size: Number of texts or pictures in a batch.
        progress: Whether to show progress bars.

    Raises:
        DIMError: If there is no such checkpoint.
    """

    def __init__(self, source: str | Path, batch_size: int, progress: bool):
        try:
            self.model, self.processor = DIMModel.from_towers(str(source)), DIMProcessor.from_towers(str(source))
        except OSError as error:
            raise DIMError(f"There is no encoder {str(source)!r}, neither as a folder nor on the Hub.") from error
        self.model = self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.batch_size, self.progress = batch_size, progress

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Encodes texts as unit vectors `(T, D)`, float32, on the CPU; equal texts are encoded once."""
        unique, model, tokenizer = list(dict.fromkeys(texts)), self.model, self.processor.tokenizer
        vectors = torch.empty(len(unique), model.config.projection_dim)
        batches = longest_first([len(text) for text in unique], self.batch_size)
        for rows in tqdm(batches, desc="zero-shot texts", disable=not self.progress):
            batch = tokenizer(
                [unique[row] for row in rows],
                padding=self.processor.text_padding,
                truncation=True,
                max_length=self.processor.max_text_length,
                return_tensors="pt",
            ).to(model.device)
            pooled = model.pool_texts(batch.input_ids, batch.attention_mask)
            vectors[rows] = model.text_projection(pooled).float().cpu()
        index = index_of(unique)
        return torch.nn.functional.normalize(vectors, dim=1)[[index[text] for text in texts]]

    @torch.inference_mode()
    def pictures(self, mentions: Sequence[dict]) -> Tensor:
        """Encodes mentions' pictures as unit vectors `(M, D)`, float32, on the CPU; zeros for a mention without one."""
        vectors = torch.zeros(len(mentions), self.model.config.projection_dim)
        starts = range(0, len(mentions), self.batch_size)
        for start in tqdm(starts, desc="zero-shot pictures", disable=not self.progress):
            batch = {row: mentions[row] for row in range(start, min(start + self.batch_size, len(mentions)))}
            present = [row for row, mention in batch.items() if mention["image"] is not None]
            if present:
                prepare = self.processor.image_processor
                loaded = [cut_out(load_picture(batch[row]["image"]), batch[row].get("region")) for row in present]
                pictures = [prepare_picture(picture, prepare) for picture in loaded]
                pixels = prepare(pictures, return_tensors="pt").pixel_values
                projected = self.model.visual_projection(self.model.pool_pictures(pixels.to(self.model.device)))
                vectors[present] = projected.float().cpu()
        return torch.nn.functional.normalize(vectors, dim=1)


def _products(queries: Tensor, keys: Tensor) -> Iterator[Block]:
    """Dot products of `(M, D)` and `(E, D)`, summed in float64, so that equal entities tie."""
    wide = keys.double().T
    for rows in parts(len(queries), len(keys)):
        yield rows, (queries[rows].double() @ wide).float()
