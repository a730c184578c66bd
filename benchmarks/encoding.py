"""Measures the cost of DIM beyond its towers: mentions and entities per second, against plain CLIP on the same inputs.

    python benchmarks/encoding.py [--rows 64] [--rounds 7] [--json FILE]

Towers of the size of CLIP ViT-B/32 with random weights. In each round CLIP and DIM encode the same tensors, directly
one after the other in alternating order; the result is the median of the rounds' ratios.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

from dim import DIMConfig, DIMModel

LENGTHS = {"mention": 6, "sentence": 40, "expert": 24, "entity": 48}  # tokens, special ones included


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


@torch.inference_mode()
def measure(rows: int, rounds: int, device: torch.device, dtype: torch.dtype) -> list[dict]:
    """Times both sides of DIM against CLIP.

    Args:
        rows: Mentions or entities per batch.
        rounds: Number of rounds.
        device: Device of both models.
        dtype: Type of the weights.

    Returns:
        A row for mentions (mention, sentence, picture, caption) and one for entities (text, picture).
    """
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig()).to(device, dtype).eval()
    model = DIMModel(DIMConfig(text_config=clip.config.text_config, vision_config=clip.config.vision_config))
    model = model.to(device, dtype).eval()
    ids, masks = {}, {}
    for side, length in LENGTHS.items():
        ids[side] = torch.randint(1000, 40000, (rows, length), device=device)
        ids[side][:, -1] = clip.config.text_config.eos_token_id
        masks[side] = torch.ones_like(ids[side])
    pictures = torch.randn(rows, 3, 224, 224, device=device, dtype=dtype)

    def clip_side(texts: tuple[str, ...]) -> None:
        for text in texts:
            clip.get_text_features(input_ids=ids[text], attention_mask=masks[text])
        clip.get_image_features(pixel_values=pictures)

    def dim_mentions() -> None:
        texts = {f"{side}_{name}": values[side] for side in ("mention", "sentence", "expert")
                 for name, values in (("input_ids", ids), ("attention_mask", masks))}  # fmt: skip
        model.get_mention_features(**texts, pixel_values=pictures)

    def dim_entities() -> None:
        model.get_entity_features(
            entity_input_ids=ids["entity"],
            entity_attention_mask=masks["entity"],
            entity_pixel_values=pictures[:, None],
        )

    results = []
    for what, texts, ours in (
        ("mentions", ("mention", "sentence", "expert"), dim_mentions),
        ("entities", ("entity",), dim_entities),
    ):
        times: dict[str, list[float]] = {"clip": [], "dim": []}
        calls = {"clip": lambda texts=texts: clip_side(texts), "dim": ours}
        for name in calls:
            calls[name]()  # warm up
        for turn in range(rounds):
            for name in ("clip", "dim") if turn % 2 else ("dim", "clip"):
                times[name].append(seconds(calls[name], device))
        ratios = [ours / theirs for ours, theirs in zip(times["dim"], times["clip"], strict=True)]
        results.append(
            {
                "what": what,
                "clip rows/s": rows / statistics.median(times["clip"]),
                "dim rows/s": rows / statistics.median(times["dim"]),
                "ratio": statistics.median(ratios),
                "ratio low": min(ratios),
                "ratio high": max(ratios),
            }
        )
    return results


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=64, help="rows per batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    results = measure(arguments.rows, arguments.rounds, device, dtype)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    print(f"{name}, {torch.get_num_threads()} threads, {dtype}, batch {arguments.rows}, {arguments.rounds} rounds\n")
    print(f"{'':<10}{'CLIP rows/s':>13}{'DIM rows/s':>13}{'cost':>8}   (lowest - highest round)")
    for row in results:
        print(f"{row['what']:<10}{row['clip rows/s']:>13.1f}{row['dim rows/s']:>13.1f}{row['ratio']:>7.3f}x   "
              f"({row['ratio low']:.3f} - {row['ratio high']:.3f})")  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
