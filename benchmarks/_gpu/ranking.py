"""Exact ranks of 5,000 mentions among 1,000,000 entities, beside one matrix product of that size."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from _gpu.processes import Found
from _gpu.timing import device, median, times
from dim.metrics.ranks import gold_ranks_from_embeddings


def product(queries: torch.Tensor, entities: torch.Tensor, dtype: torch.dtype, tf32: bool) -> Callable[[], None]:
    """One product of all queries and entities, a block of entities at a time into the same memory."""
    height = min(len(entities), 100_000)
    out = torch.empty(len(queries), height, device=queries.device, dtype=dtype)
    a, b = queries.to(dtype), entities.to(dtype)

    def call() -> None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        for start in range(0, len(b), height):
            torch.mm(a, b[start : start + height].T, out=out)
        torch.backends.cuda.matmul.allow_tf32 = False

    return call


def measure(tiny: bool, work: Path) -> Found:
    """Seconds of `gold_ranks_from_embeddings`, and of the products."""
    mentions, entities, width, rounds = (20, 1_000, 32, 2) if tiny else (5_000, 1_000_000, 512, 5)
    generator = torch.Generator(device()).manual_seed(0)
    table = F.normalize(torch.randn(entities, width, device=device(), generator=generator), dim=1)
    table[1::7] = table[::7][: len(table[1::7])]  # ties
    gold = torch.arange(mentions) * (entities // mentions)
    noise = torch.randn(mentions, width, device=device(), generator=generator) / width**0.5
    queries = F.normalize(table[gold.to(device())] + 6 * noise, dim=1)
    seconds = {}
    for name, dtype, tf32 in (("bf16", torch.bfloat16, False), ("tf32", torch.float32, True),
                              ("float32", torch.float32, False)):  # fmt: skip
        seconds[f"{name} product"] = median(times(product(queries, table, dtype, tf32), rounds))
    ranks = [gold_ranks_from_embeddings(queries, table, gold)]
    seconds["ranks"] = median(times(lambda: gold_ranks_from_embeddings(queries, table, gold), rounds, warm=1))
    some = slice(0, 20)
    of_cpu = gold_ranks_from_embeddings(queries[some].cpu(), table.cpu(), gold[some], block_bytes=2**26)
    same = torch.equal(ranks[0][some], of_cpu)
    ratios = {name: seconds["ranks"] / seconds[f"{name} product"] for name in ("bf16", "tf32")}
    summary = ", ".join(f"{name} {1e3 * value:,.0f} ms" for name, value in seconds.items())
    summary += "; " + ", ".join(f"{ratio:.1f}x of the {name} product" for name, ratio in ratios.items())
    summary += f"; {'equal to' if same else 'DIFFERENT FROM'} the CPU's ranks"
    return Found(
        summary, None if tiny else same and max(ratios.values()) <= 2, {**seconds, "ratios": ratios, "equal": same}
    )
