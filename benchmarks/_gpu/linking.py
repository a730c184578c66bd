"""The linker on a knowledge base in memory, with its model on the CPU and on the card."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from _made_up import WORDS
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from _gpu.made import clip_config, tokenizer
from _gpu.processes import Found
from _gpu.timing import device, median, times
from dim import DIMConfig, DIMModel, DIMProcessor
from dim.encoding.mention import Mention
from dim.kb import database
from dim.lexical_dim import LEXICAL_FEATURES
from dim.linking.linker import CANDIDATES, DIMLinker


class MemoryBase:
    """What the linker reads of a knowledge base, from a table in memory: LanceDB is left out of the figures."""

    version, uri, home = 1, "memory", "memory"

    def __init__(self, table: pa.Table):
        self._table, self.width = table, table.schema.field("vector").type.list_size

    def __len__(self) -> int:
        return len(self._table)

    def check_encoder(self, encoder: str, complete: bool = True) -> None:
        """Every model is the right one."""

    def refresh(self) -> bool:
        """Nothing ever changes."""
        return False

    def encoded(self) -> tuple[np.ndarray, np.ndarray, frozenset[str]]:
        """As [`EntityView.encoded`]."""
        return np.ones(len(self), bool), self._table["key"].to_numpy(), frozenset(["made up"])

    def table(self, columns: Sequence[str]) -> pa.Table:
        """As [`EntityView.table`]."""
        return self._table.select(columns)

    def take(self, numbers: Sequence[int] | np.ndarray, columns: Sequence[str]) -> pa.Table:
        """As [`EntityView.take`]."""
        return self._table.select(columns).take(pa.array(np.asarray(numbers, np.int64)))

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """As [`EntityView.batches`]."""
        yield from self._table.select(columns).to_batches(max_chunksize=size)


def knowledge_base(count: int, width: int) -> tuple[MemoryBase, torch.Tensor]:
    """Entities of random words and random unit vectors."""
    draw = random.Random(0)
    vectors = F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=1)
    flat = pa.array(vectors.numpy().ravel())
    hashes = pa.array([f"h{row}" for row in range(count)])
    table = pa.table({
        "id": [f"e{row}" for row in range(count)],
        "name": [" ".join(draw.choices(WORDS, k=2)) for _ in range(count)],
        "aliases": pa.array([[]] * count, pa.list_(pa.string())),
        "description": [" ".join(draw.choices(WORDS, k=8)) for _ in range(count)],
        "key": np.arange(count),
        "vector": pa.FixedSizeListArray.from_arrays(flat, width),
        "encoded_hash": hashes,
        "content_hash": hashes,
    })  # fmt: skip
    return MemoryBase(table), vectors


def stages(linker: DIMLinker, queries: torch.Tensor, mentions: list[Mention], rounds: int) -> dict[str, float]:
    """Mentions per second of the whole search and ranking, and of every retrieval channel."""
    calls = {"all": lambda: linker.rank_vectors(queries, mentions)}
    for channel in linker.search.channels:
        calls[channel.name] = lambda channel=channel: channel.search(mentions, queries, CANDIDATES)
    return {name: len(mentions) / median(times(call, rounds, warm=1)) for name, call in calls.items()}


def measure(tiny: bool, work: Path) -> Found:
    """Mentions per second on the CPU, and with the model and, if the package can do it, the vectors on the card."""
    count, width, asked, rounds = (500, 32, 20, 2) if tiny else (120_000, 512, 512, 3)
    database.read_arrays = lambda uri: None
    base, vectors = knowledge_base(count, width)
    clip = clip_config(tiny=True)
    config = DIMConfig(
        text_config=clip.text_config.to_dict(),
        vision_config=None,
        mention_modalities=["sentence"],
        entity_pictures=False,
        projection_dim=width,
        num_lexical_features=len(LEXICAL_FEATURES),
    )
    model, processor = DIMModel(config).eval(), DIMProcessor(CLIPImageProcessorPil(), tokenizer(), max_text_length=77)
    golds = [row * (count // asked) for row in range(asked)]
    names = base.table(["name"])["name"].to_pylist()
    mentions = [Mention.find(names[row], f"{names[row]} {' '.join(WORDS[row % 1900 :][:8])}") for row in golds]
    queries = F.normalize(vectors[golds] + 0.5 * torch.randn(asked, width) / width**0.5, dim=1)
    speeds = {"cpu": stages(DIMLinker(model, processor, base), queries, mentions, rounds)}
    linker = DIMLinker(model.to(device()), processor, base)
    speeds["card"] = stages(linker, queries, mentions, rounds)
    place = linker.search.vectors(np.arange(1)).device.type
    held, asked_on_card = vectors.to(device()), queries.to(device())
    plain = asked / median(times(lambda: torch.topk(asked_on_card @ held.T, CANDIDATES).indices.cpu(), rounds))
    there = place == "cuda"
    ratios = {name: speeds["card"][name] / speed for name, speed in speeds["cpu"].items()}
    summary = f"all {speeds['card']['all']:,.0f} : {speeds['cpu']['all']:,.0f} mentions/s = {ratios['all']:.1f}x; "
    summary += f"dense search {speeds['card']['dense']:,.0f} : {speeds['cpu']['dense']:,.0f} = {ratios['dense']:.1f}x"
    summary += f"; a plain product and top-k there {plain:,.0f}; {count:,} entities"
    figures = {"mentions/s": speeds, "ratios": ratios, "vectors are held on": place, "plain top-k, mentions/s": plain}
    met = there and ratios["all"] >= 10
    return Found(summary, met if torch.cuda.is_available() and not tiny else None, figures)
