"""A training step with the towers of CLIP ViT-B/32, beside a plain contrastive step of transformers' CLIP."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPModel

from _gpu.made import clip_config, on_device, picture_run
from _gpu.processes import Found
from _gpu.timing import alternating, device, matrix_rate, median, times, wait
from dim.training.batches import Batch

TEXTS = ("mention", "sentence", "entity")


def plain_step(tiny: bool, batch: Batch) -> Callable[[], None]:
    """A contrastive step of CLIP on the tensors of a batch: the same texts and pictures through the same towers."""
    clip = CLIPModel(clip_config(tiny)).to(device()).train()
    optimizer = torch.optim.AdamW(clip.parameters(), lr=5e-5, weight_decay=1e-3)
    labels, inputs = batch.targets["labels"], batch.inputs

    def vectors(outputs: object) -> torch.Tensor:
        return F.normalize(getattr(outputs, "pooler_output", outputs), dim=-1)  # type: ignore[arg-type]

    def step() -> None:
        with torch.autocast(device().type, torch.bfloat16, enabled=torch.cuda.is_available()):
            mention, sentence, entity = (
                vectors(clip.get_text_features(inputs[f"{side}_input_ids"], inputs[f"{side}_attention_mask"]))
                for side in TEXTS
            )
            picture = vectors(clip.get_image_features(inputs["pixel_values"]))
            query = F.normalize(mention + sentence + picture, dim=-1)
        logits = clip.logit_scale.exp() * query.float() @ entity.float().T
        F.cross_entropy(logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(tiny: bool, work: Path) -> Found:
    """Measures at batch size 1,024, or at 512 on a card without the memory for it."""
    if tiny:
        return measure_at(8, 2, tiny, work)
    try:
        return measure_at(1024, 7, tiny, work)
    except torch.OutOfMemoryError as error:
        print(error, flush=True)
    torch.cuda.empty_cache()
    return measure_at(512, 7, tiny, work)


def measure_at(size: int, rounds: int, tiny: bool, work: Path) -> Found:
    """Pairs per second on tensors that are on the card, from host memory, and with the loader; share of the peak."""
    run = picture_run(work, tiny, size)
    host, other = (next(run.epoch(epoch, 0))[0] for epoch in (0, 1))
    batch = on_device(other, device())
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    calls = {"dim": lambda: run.step([batch]), "clip": plain_step(tiny, batch)}
    found = alternating(calls, rounds)
    seconds = {name: median(values) for name, values in found.items()}
    ratio = median([theirs / ours for ours, theirs in zip(found["dim"], found["clip"], strict=True)])
    with FlopCounterMode(display=False) as counter:
        run.step([batch])
    rate = counter.get_total_flops() / seconds["dim"]
    peak = matrix_rate(256 if tiny else 8192, torch.bfloat16)
    copied = median(times(lambda: run.step([host]), 3, warm=1))
    for each in run.epoch(2, 0):  # so that there is pinned memory for later batches
        run.step(each)
    began, batches = wait(), run.epoch(3, 0)
    drawn = next(batches)
    loading = wait() - began
    run.step(drawn)
    began, left = wait(), [run.step(each) for each in batches]
    whole = (wait() - began) / len(left)
    figures = {
        "batch size": size,
        "pairs/s": size / seconds["dim"],
        "pairs/s, CLIP": size / seconds["clip"],
        "ratio": ratio,
        "ratios": [theirs / ours for ours, theirs in zip(found["dim"], found["clip"], strict=True)],
        "Tflop/s": rate / 1e12,
        "share of the measured bf16 rate": rate / peak,
        "share of 989 Tflop/s": rate / 989e12,
        "seconds of a step, tensors on the card": seconds["dim"],
        "seconds of a step, batch in host memory": copied,
        "seconds to draw a batch, no workers": loading,
        "seconds of a step that draws the next batch": whole,
        "picture bytes of a batch": sum(value.nbytes for name, value in drawn[0].inputs.items() if "pixel" in name),
        "peak memory GB": torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0,
    }
    summary = (
        f"batch {size:,}: {figures['pairs/s']:,.0f} : {figures['pairs/s, CLIP']:,.0f} pairs/s = {ratio:.2f}x; "
        f"{rate / 1e12:.0f} Tflop/s = {rate / peak:.0%} of this card's products; step {1e3 * seconds['dim']:.0f} ms, "
        f"{1e3 * copied:.0f} ms from host memory, {1e3 * whole:.0f} ms with drawing the next batch meanwhile "
        f"(alone {1e3 * loading:.0f} ms)"
    )
    return Found(summary, None if tiny else ratio >= 0.9, figures)
