"""Encoding of mentions and entities, in batches of similar length, with pictures decoded by worker processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import datasets
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import BatchFeature

from dim.common.unreadable_pictures import UnreadablePictures
from dim.encoding.batching import inputs_to, longest_first
from dim.encoding.eight_bit import EightBitPictures
from dim.encoding.mention import column
from dim.encoding.mention_pictures import check_pictures_alone, mention_picture
from dim.encoding.workers import Wait, workers_for
from dim.errors import DIMError
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor

BATCH_SIZE = 64
_KEPT_BYTES = 64 << 20  # vectors that wait on the device to be copied together


class _Collate:
    """Turns rows (dicts) into tensors, in a worker; a class, so that it can be sent to a spawned worker."""

    def __init__(self, processor: DIMProcessor, pictures: bool, make: Callable):
        self.processor, self.pictures, self.make = processor, pictures, make

    def __call__(self, rows: list[dict]) -> tuple[dict[str, Tensor], UnreadablePictures] | DIMError:
        unreadable = UnreadablePictures()  # of this batch, since a worker shares no memory
        try:
            return dict(self.make(self.processor, rows, self.pictures, unreadable)), unreadable
        except DIMError as error:  # the loader would add the worker's traceback to the message
            return DIMError(str(error))


@dataclass(frozen=True)
class _Loading:
    """How rows are loaded; see `encode_mentions`."""

    batch_size: int
    num_workers: int | None
    progress: bool
    unreadable: UnreadablePictures | None


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

    Raises:
        DIMError: If a row is invalid, see [`mention_picture`].
    """
    spans = [(row["start"], row["end"]) for row in rows]
    images = None
    if pictures:
        report = UnreadablePictures() if unreadable is None else unreadable
        images = [mention_picture(row, report) for row in rows]
    answers = [row.get("expert_answer") for row in rows]
    return processor.process_mentions(
        [row["mention"] for row in rows],
        [row["sentence"] for row in rows],
        images,
        answers if any(answers) else None,
        spans,
    )


def entity_batch(
    processor: DIMProcessor, rows: list[dict], pictures: bool, unreadable: UnreadablePictures
) -> BatchFeature:
    """Makes the model's inputs for a batch of entities; the arguments are those of [`mention_batch`]."""
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
    num_workers: int | None = None,
    progress: bool = False,
    unreadable: UnreadablePictures | None = None,
) -> Tensor:
    """Encodes mentions as vectors, as they are ranked. A picture that cannot be read is masked, like a missing one.

    Args:
        model: A DIM.
        processor: Its processor.
        mentions: Rows with `mention`, `sentence`, `start`, `end` and optionally `image` (any input of `load_picture`),
            `region` (of the picture) and `expert_answer`; a list or a `datasets.Dataset`. A mention that is a picture
            alone has an empty `mention` and `sentence`.
        batch_size: Rows per batch.
        num_workers: Processes that decode pictures and tokenise; 0 for this process alone. By default, as many as pay:
            for a model on a GPU and seconds of work, up to all cores but one, and otherwise none.
        progress: Whether to show a progress bar.
        unreadable: Report to which pictures that cannot be read are added, by the rows' `id`; without it, one warning
            is logged with their number, reasons and first ids.

    Returns:
        `torch.Tensor` of shape `(M, D)`, float32, on the CPU, in the order of `mentions`.

    Raises:
        DIMError: If there is no mention, or a row is invalid: a region does not lie in its picture, or there is neither
            a text nor a picture that the model reads.

    Example:

        >>> from dim import load_dim
        >>> rows = [{"mention": "Turkey", "sentence": "We flew to Turkey.", "start": 11, "end": 17}]
        >>> encode_mentions(*load_dim("demo/model"), rows).shape[0]
        1
    """
    check_pictures_alone(model.config, mentions)
    lengths = _token_counts(processor, column(mentions, "sentence"))
    collate = _Collate(processor, "picture" in model.config.mention_modalities, mention_batch)
    rows, loading = undecoded(mentions), _Loading(batch_size, num_workers, progress, unreadable)
    return _encode(model, model.get_mention_features, rows, lengths, collate, loading)


def encode_entities(
    model: DIMModel,
    processor: DIMProcessor,
    entities: Sequence[dict],
    *,
    batch_size: int = BATCH_SIZE,
    num_workers: int | None = None,
    progress: bool = False,
    unreadable: UnreadablePictures | None = None,
) -> Tensor:
    """Encodes entities as vectors, as they are ranked. A picture that cannot be read is left out.

    Args:
        model: A DIM.
        processor: Its processor.
        entities: Rows with `name`, `description` and optionally `images`; a list or a `datasets.Dataset`.
        batch_size: Rows per batch.
        num_workers: Processes that decode pictures and tokenise; 0 for this process alone. By default, as many as pay:
            for a model on a GPU and seconds of work, up to all cores but one, and otherwise none.
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
    collate = _Collate(processor, model.config.entity_pictures, entity_batch)
    rows, loading = undecoded(entities), _Loading(batch_size, num_workers, progress, unreadable)
    return _encode(model, model.get_entity_features, rows, lengths, collate, loading)


def _token_counts(processor: DIMProcessor, texts: Sequence[str], block: int = 1_000) -> list[int]:
    """Counts the tokens of each text, up to the limit. Batches sorted by characters would have more padding."""
    counts: list[int] = []
    for start in range(0, len(texts), block):
        ids = processor.tokenizer(list(texts[start : start + block]), verbose=False).input_ids
        counts += [min(len(row), processor.max_text_length) for row in ids]
    return counts


@torch.inference_mode()
def _encode(
    model: DIMModel,
    encode: Callable[..., Tensor],
    rows: Sequence[dict],
    lengths: list[int],
    collate: _Collate,
    loading: _Loading,
) -> Tensor:
    """Encodes rows. A GPU is never waited for, except for its vectors, many batches at a time."""
    if not lengths:
        raise DIMError("There is nothing to encode.")
    device = model.device
    split = EightBitPictures.of(collate.processor) if collate.pictures and _is_gpu(device) else None
    if split is not None:
        collate.processor, split = split.processor, split.to(device)
    batches = longest_first(lengths, loading.batch_size)
    workers = loading.num_workers
    if workers is None:
        workers = workers_for(len(rows), collate.pictures, device)
    loader: DataLoader = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available() and _is_gpu(device),
    )
    training = model.training
    model.eval()
    vectors, found = _Vectors(len(lengths), model.config.vector_dim), UnreadablePictures()
    wait = Wait(len(lengths), workers)
    bar = tqdm(zip(batches, loader, strict=True), total=len(batches), desc="encoding", disable=not loading.progress)
    for indices, loaded in wait.measured(bar):
        if isinstance(loaded, DIMError):
            raise loaded
        batch, missing = loaded
        found.update(missing)
        inputs = inputs_to(batch, device)
        vectors.add(indices, encode(**(inputs if split is None else split.normalised(inputs))).float())
    model.train(training)
    if loading.unreadable is None:
        found.warn()
    else:
        loading.unreadable.update(found)
    result = vectors.all()
    wait.tell()
    return result


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


class _Vectors:
    """Vectors `(N, D)` on the CPU, copied from the device many at a time."""

    def __init__(self, count: int, width: int):
        self._all = torch.empty(count, width)
        self._indices: list[int] = []
        self._parts: list[Tensor] = []

    def add(self, indices: list[int], part: Tensor) -> None:
        """Keeps the vectors `(B, D)` of some rows."""
        self._indices += indices
        self._parts.append(part)
        if len(self._indices) * self._all.shape[1] * 4 >= _KEPT_BYTES:
            self.all()

    def all(self) -> Tensor:
        """Copies what is still on the device, and returns all vectors."""
        if self._parts:
            self._all[self._indices] = torch.cat(self._parts).cpu()
        self._indices, self._parts = [], []
        return self._all


def undecoded(rows: Sequence[dict]) -> Sequence[dict]:
    """Turns off the decoding of pictures by `datasets`, which would stop at one that cannot be read.

    Args:
        rows: A list of rows, or a `datasets.Dataset`.

    Returns:
        The list itself, or the dataset with `{"bytes", "path"}` for each picture.
    """
    if not isinstance(rows, datasets.Dataset):
        return rows
    table: datasets.Dataset = rows
    for name, feature in table.features.items():
        one = getattr(feature, "feature", feature)  # the type of the items of a list
        if isinstance(one, datasets.Image) and one.decode:
            undecoded = datasets.Image(decode=False)
            table = table.cast_column(name, undecoded if one is feature else datasets.List(undecoded))
    return table
