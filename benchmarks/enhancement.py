"""Times `dim enhance` against a server with a latency of 200 ms, and BLIP-2 captions on a GPU.

    python benchmarks/enhancement.py [--entities 10000] [--concurrency 64] [--latency 0.2]
    python benchmarks/enhancement.py --captions [--batch-sizes 1 8 32 128] [--tiny]

The server is the stub of the tests in a process of its own on this machine; the run is another process, whose peak
memory the system reports. Captions need a GPU: a BLIP-2 as large as blip2-opt-2.7b with random weights; nothing is
downloaded. With --tiny it is the BLIP-2 of the tests, which runs anywhere and shows that the benchmark works.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dim.experts.blip2 import Blip2Expert

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import json, resource, sys, time
import dim.enhancement.enhance, openai
from dim.enhancement.answer_checks import check_language
from dim.cli.main import main
options = json.loads(sys.argv[1])
check_language("en")  # so that start-up does not count
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
began, worked = time.perf_counter(), time.process_time()
main(["enhance", options["source"], "--llm", "stub", "--base-url", options["url"], "--out", options["out"],
      "--concurrency", str(options["concurrency"])])
seconds, work = time.perf_counter() - began, time.process_time() - worked
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "work": work, "before": before, "peak": peak}))
"""


def enhancement(count: int, concurrency: int, latency: float) -> None:
    """Prints seconds and memory of a run with `count` entities."""
    stub = [sys.executable, str(ROOT / "tests" / "helpers" / "openai_stub.py"), "--latency", str(latency)]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(stub, stdout=subprocess.PIPE, text=True) as server:
        try:
            source = Path(folder) / "kb.jsonl"
            rows = ({"id": f"Q{n}", "name": f"Name {n}", "description": "Sex: male. " * 10} for n in range(count))
            source.write_text("".join(json.dumps(row) + "\n" for row in rows))
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            options = {"source": str(source), "url": url, "out": f"{folder}/new.jsonl", "concurrency": concurrency}
            done = subprocess.run(
                [sys.executable, "-c", RUN, json.dumps(options)],
                check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            written = len(Path(options["out"]).read_text().splitlines())
        finally:
            server.kill()
    print(
        f"{written:,} of {count:,} entities at concurrency {concurrency}, {latency * 1000:.0f} ms latency: "
        f"{found['seconds']:.1f} s (limit {count * latency / concurrency:.1f} s), "
        f"{found['work']:.1f} s of them computing, memory "
        f"{found['peak'] - found['before']:.0f} MiB above the {found['before']:.0f} MiB of the imports"
    )


def real_expert(tiny: Path) -> "Blip2Expert":
    """A BLIP-2 of the real size with random weights, on the GPU, with the tokenizer of the tiny one."""
    import torch
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor

    from dim.experts.blip2 import Blip2Expert

    processor = Blip2Processor.from_pretrained(tiny, backend="pil", num_query_tokens=32)
    processor.image_processor.size = {"height": 224, "width": 224}
    config = Blip2Config(
        num_query_tokens=32,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
        text_config={
            "model_type": "opt", "hidden_size": 2560, "ffn_dim": 10240, "num_hidden_layers": 32,
            "num_attention_heads": 32, "word_embed_proj_dim": 2560,
        },
    )  # fmt: skip
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda"):
        model = Blip2ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    return Blip2Expert(model, processor, "benchmark")


def captions(batch_sizes: list[int], is_tiny: bool) -> None:
    """Prints pictures per second by batch size, with a BLIP-2."""
    import torch
    from PIL import Image

    if not is_tiny and not torch.cuda.is_available():
        print("captions: skipped, there is no GPU (--tiny runs anywhere)")
        return
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from tiny_blip2 import save_tiny_blip2

    from dim.experts.blip2 import Blip2Expert

    with tempfile.TemporaryDirectory() as folder:
        tiny = save_tiny_blip2(Path(folder))
        expert = Blip2Expert.from_pretrained(str(tiny)) if is_tiny else real_expert(tiny)
    expert.model.generation_config.eos_token_id = None  # every answer has the maximum length
    seconds = 1 if is_tiny else 10
    pictures = [Image.effect_noise((640, 480), n % 100 + 1).convert("RGB") for n in range(max(batch_sizes))]
    rates = {}
    for size in batch_sizes:
        expert.answer(pictures[:size], batch_size=size)
        began, count = time.perf_counter(), 0  # the GPU is idle once the answers are text
        while time.perf_counter() - began < seconds:
            expert.answer(pictures[:size], batch_size=size)
            count += size
        rates[size] = count / (time.perf_counter() - began)
        print(f"batch {size}: {rates[size]:.1f} images/s")
    print(f"best relative to batch {batch_sizes[0]}: {max(rates.values()) / rates[batch_sizes[0]]:.1f}")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entities", type=int, default=10_000, help="how many entities (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=64, help="requests at a time (%(default)s)")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before each answer (%(default)s)")
    parser.add_argument("--captions", action="store_true", help="caption on a GPU instead")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32, 128], help="pictures at a time")
    parser.add_argument("--tiny", action="store_true", help="caption with the tests' BLIP-2, on any machine")
    arguments = parser.parse_args()
    if arguments.captions:
        captions(arguments.batch_sizes, arguments.tiny)
    else:
        enhancement(arguments.entities, arguments.concurrency, arguments.latency)


if __name__ == "__main__":
    main()
