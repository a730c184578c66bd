"""Encoding of mentions and entities, in batches of similar length, with pictures decoded by worker processes."""

from collections.abc import Callable, Iterator, Sequence

import datasets
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import BatchFeature

from dim.common.unreadable_pictures import UnreadablePictures
from dim.encoding.batching import longest_first
from dim.encoding.mention import column
from dim.errors import DIMError
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor

BATCH_SIZE = 64


class _Collate:
    """Turns rows (dicts) into tensors, in a worker; a class, so that it can be sent to a spawned worker."""

    def __init__(self, processor: DIMProcessor, pictures: bool, make: Callable):
        self.processor, self.pictures, self.make = processor, pictures, make

    def __call__(self, rows: list[dict]) -> tuple[BatchFeature, UnreadablePictures]:
        unreadable = UnreadablePictures()  # of this batch, since a worker shares no memory
        return self.make(self.processor, rows, self.pictures, unreadable), unreadable


def mention_batch(
    processor: DIMProcessor, rows: list[dict], pictures: bool, unreadable: UnreadablePictures | None = None
) -> BatchFeature:
    """Makes the model's inputs for a batch of mentions. A picture that cannot be read is masked, like a missing one.

    Args:
        processor: A processor.
        rows: Mentions, as for [`encode_mentions`].
        pictures: Whether the model uses their pictures.
        unreadable: Report to which pictures that cannot be read are added.

    Returns:
        Tensors on the CPU.
    """
    spans = [(row["start"], row["end"]) for row in rows]
    load = (UnreadablePictures() if unreadable is None else unreadable).load
    images = None
    if pictures:
        images = [None if row.get("image") is None else load(row["image"], row.get("id")) for row in rows]
    answers = [row.get("expert_answer") for row in rows]
    return processor.process_mentions(
        [row["mention"] for row in rows],
        [row["sentence"] for row in rows],
        images,
        answers if any(answers) else None,
        spans,
    )


def _entity_batch(
    processor: DIMProcessor, rows: list[dict], pictures: bool, unreadable: UnreadablePictures
) -> BatchFeature:
    images = None
    if pictures:
        loaded = [[unreadable.load(image, row.get("id")) for image in row.get("images") or []] for row in rows]
        images = [[picture for picture in row if picture is not None] for row in loaded]
    return processor.process_entities([row["name"] for row in rows], [row["description"] or "" for row in rows], images)


def encode_mentions(
    model: DIMModel,
    processor: DIMProcessor,
    mentions: Sequence[dict],
    *,
    batch_size: int = BATCH_SIZE,
    num_workers: int = 0,
    progress: bool = False,
    unreadable: UnreadablePictures | None = None,
) -> Tensor:
    """Encodes mentions as vectors, as they are ranked. A picture that cannot be read is masked, like a missing one.

    Args:
        model: A DIM.
        processor: Its processor.
        mentions: Rows with `mention`, `sentence`, `start`, `end` and optionally `image` (any input of `load_picture`)
            and `expert_answer`; a list or a `datasets.Dataset`.
        batch_size: Rows per batch.
        num_workers: Processes that decode pictures and tokenise; 0 for this process alone.
        progress: Whether to show a progress bar.
        unreadable: Report to which pictures that cannot be read are added, by the rows' `id`; without it, one warning
            is logged with their number, reasons and first ids.

    Returns:
        `torch.Tensor` of shape `(M, D)`, float32, on the CPU, in the order of `mentions`.

    Raises:
        DIMError: If there is no mention, or a row is invalid.

    Example:

        >>> from dim import load_dim
        >>> rows = [{"mention": "Turkey", "sentence": "We flew to Turkey.", "start": 11, "end": 17}]
        >>> encode_mentions(*load_dim("demo/model"), rows).shape[0]
        1
    """
    lengths = _token_counts(processor, column(mentions, "sentence"))
    collate = _Collate(processor, "picture" in model.config.mention_modalities, mention_batch)
    rows, loading = _undecoded(mentions), (batch_size, num_workers, progress, unreadable)
    return _encode(model, model.get_mention_features, rows, lengths, collate, *loading)


def encode_entities(
    model: DIMModel,
    processor: DIMProcessor,
    entities: Sequence[dict],
    *,
    batch_size: int = BATCH_SIZE,
    num_workers: int = 0,
    progress: bool = False,
    unreadable: UnreadablePictures | None = None,
) -> Tensor:
    """Encodes entities as vectors, as they are ranked. A picture that cannot be read is left out.

    Args:
        model: A DIM.
        processor: Its processor.
        entities: Rows with `name`, `description` and optionally `images`; a list or a `datasets.Dataset`.
        batch_size: Rows per batch.
        num_workers: Processes that decode pictures and tokenise; 0 for this process alone.
        progress: Whether to show a progress bar.
        unreadable: As for `encode_mentions`.

    Returns:
        `torch.Tensor` of shape `(E, D)`, float32, on the CPU, in the order of `entities`.

    Raises:
        DIMError: If there is no entity, or a row is invalid.

    Example:

        >>> from dim import load_dim
        >>> rows = [{"name": "Turkey", "description": "country"}, {"name": "turkey", "description": "large bird"}]
        >>> encode_entities(*load_dim("demo/model"), rows).shape[0]
        2
    """
    names, descriptions = column(entities, "name"), column(entities, "description")
    lengths = _token_counts(processor, [f"{name} {text or ''}" for name, text in zip(names, descriptions, strict=True)])
    collate = _Collate(processor, model.config.entity_pictures, _entity_batch)
    rows, loading = _undecoded(entities), (batch_size, num_workers, progress, unreadable)
    return _encode(model, model.get_entity_features, rows, lengths, collate, *loading)


def _token_counts(processor: DIMProcessor, texts: Sequence[str], block: int = 1_000) -> list[int]:
    """Counts the tokens of each text, up to the limit. Batches sorted by characters would have more padding."""
    counts: list[int] = []
    for start in range(0, len(texts), block):
        ids = processor.tokenizer(list(texts[start : start + block]), verbose=False).input_ids
        counts += [min(len(row), processor.max_length) for row in ids]
    return counts


@torch.inference_mode()
def _encode(
    model: DIMModel,
    encode: Callable[..., Tensor],
    rows: Sequence[dict],
    lengths: list[int],
    collate: _Collate,
    batch_size: int,
    num_workers: int,
    progress: bool,
    unreadable: UnreadablePictures | None,
) -> Tensor:
    if not lengths:
        raise DIMError("There is nothing to encode.")
    batches = longest_first(lengths, batch_size)
    loader: DataLoader = DataLoader(rows, batch_sampler=batches, collate_fn=collate, num_workers=num_workers)  # type: ignore[arg-type]
    training = model.training
    model.eval()
    vectors = torch.empty(len(lengths), model.config.projection_dim)
    found = UnreadablePictures()
    for indices, (batch, missing) in zip(batches, _bar(loader, len(batches), progress), strict=True):
        found.update(missing)
        vectors[indices] = encode(**batch.to(model.device)).float().cpu()
    model.train(training)
    if unreadable is None:
        found.warn()
    else:
        unreadable.update(found)
    return vectors


def _bar(batches: DataLoader, total: int, progress: bool) -> Iterator[tuple[BatchFeature, UnreadablePictures]]:
    return iter(tqdm(batches, total=total, desc="encoding", disable=not progress))


def _undecoded(rows: Sequence[dict]) -> Sequence[dict]:
    """Turns off the decoding of pictures by `datasets`, which would stop at one that cannot be read."""
    if not isinstance(rows, datasets.Dataset):
        return rows
    table: datasets.Dataset = rows
    for name, feature in table.features.items():
        one = getattr(feature, "feature", feature)  # the type of the items of a list
        if isinstance(one, datasets.Image) and one.decode:
            undecoded = datasets.Image(decode=False)
            table = table.cast_column(name, undecoded if one is feature else datasets.List(undecoded))
    return table
