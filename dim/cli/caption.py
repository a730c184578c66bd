"""`dim caption` on the command line."""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dim.common.pictures import MAX_PIXELS
from dim.errors import DIMError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from dim.experts.expert import Expert

_DTYPES = ("auto", "float16", "bfloat16", "float32")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command, with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    caption = commands.add_parser(
        "caption",
        help="ask a vision-language model about a dataset's pictures",
        description="Asks an expert about the picture of each mention and writes the dataset anew with its answers in "
        "expert_answer, expert_model and expert_prompt. Each picture is asked about once; stopped at any moment, the "
        "same command goes on. Several GPUs: accelerate launch --multi_gpu --num_processes N -m dim caption ...",
    )
    caption.add_argument(
        "dataset", metavar="DATASET", help="folder or Hub name of a dataset with the config `mentions`"
    )
    caption.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new dataset's folder")
    caption.add_argument(
        "--expert", required=True, choices=("blip2", "image-text-to-text", "openai"), help="whom to ask"
    )
    caption.add_argument("--model", help="checkpoint, or the server's name of it (blip2: Salesforce/blip2-opt-2.7b)")
    caption.add_argument("--revision", help="branch, tag or commit of the checkpoint")
    caption.add_argument("--dtype", choices=_DTYPES, default="auto", help="of the weights (%(default)s: as stored)")
    caption.add_argument("--base-url", metavar="URL", help="an OpenAI-compatible server, up to /v1 (default: OpenAI)")
    caption.add_argument(
        "--prompt", default="default", help="default, paper, or a question; {mention} becomes the mention (%(default)s)"
    )
    caption.add_argument("--max-new-tokens", type=int, default=20, metavar="N", help="bound of an answer (%(default)s)")
    caption.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures at a time (%(default)s)")
    caption.add_argument(
        "--max-pixels", type=int, default=MAX_PIXELS, metavar="N", help="larger pictures are left out (%(default)s)"
    )
    caption.add_argument(
        "--cache", type=Path, metavar="FILE", help="where answers are kept (default: for all datasets)"
    )
    caption.set_defaults(run=_caption)


def _caption(arguments: argparse.Namespace) -> int:
    from datetime import timedelta

    from accelerate import Accelerator, InitProcessGroupKwargs

    from dim.experts.cache import DEFAULT, AnswerCache
    from dim.experts.captioned_dataset import UNANSWERED, check_out, find_dataset, write_captioned
    from dim.experts.captioning import Question, ask_expert
    from dim.processing_dim import EXPERT_PROMPTS
    from dim.training.distributed import check_processes

    for name in ("max_new_tokens", "batch_size", "max_pixels"):
        if getattr(arguments, name) < 1:
            raise DIMError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}: it must be at least 1.")
    prompt = EXPERT_PROMPTS.get(arguments.prompt, arguments.prompt)
    if not prompt.strip():
        raise DIMError("--prompt is empty: give a question.")
    source = find_dataset(arguments.dataset)
    check_out(source, arguments.out)
    # Processes whose share is done wait for the others, however long these take.
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=30))])
    check_processes(accelerator, None)
    with accelerator.main_process_first():  # SQLite refuses two that make a file at once
        cache = AnswerCache(arguments.cache or DEFAULT)
    expert = _expert(arguments, accelerator)
    question = Question(expert.identity, prompt, arguments.max_new_tokens, arguments.max_pixels)
    asked = ask_expert(
        [path for paths in source.files.values() for path in paths],
        expert,
        question,
        cache,
        batch_size=arguments.batch_size,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        progress=True,
    )
    print(f"process {accelerator.process_index}: {asked:,} pictures asked about")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        answered, unanswered = write_captioned(source, arguments.out, question, cache)
        kinds = Counter(one.kind for one in unanswered).most_common()
        listed = ": " + ", ".join(f"{count:,} {kind}" for kind, count in kinds) if kinds else ""
        print(f"{answered:,} mentions with an answer, {len(unanswered):,} pictures without ({UNANSWERED}){listed}")
        print(arguments.out)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    cache.close()
    return 0


def _expert(arguments: argparse.Namespace, accelerator: "Accelerator") -> "Expert":
    local = arguments.expert != "openai"
    if local and arguments.base_url is not None:
        raise DIMError(f"--base-url is for --expert openai, not for {arguments.expert}.")
    if not local and (arguments.revision is not None or arguments.dtype != "auto"):
        raise DIMError("--revision and --dtype are for experts that run here, not for --expert openai.")
    if arguments.expert != "blip2" and arguments.model is None:
        raise DIMError(f"--expert {arguments.expert} needs --model.")
    if not local:
        from dim.experts.openai_compatible import OpenAIExpert

        return OpenAIExpert(arguments.model, arguments.base_url)
    import torch

    from dim.experts.blip2 import MODEL, Blip2Expert
    from dim.experts.image_text import ImageTextToTextExpert

    expert = Blip2Expert if arguments.expert == "blip2" else ImageTextToTextExpert
    dtype = None if arguments.dtype == "auto" else getattr(torch, arguments.dtype)
    name = arguments.model or MODEL
    try:
        return expert.from_pretrained(name, device=accelerator.device, dtype=dtype, revision=arguments.revision)
    except OSError as error:
        raise DIMError(f"The checkpoint {name} cannot be loaded: {' '.join(str(error).split())}") from error


__all__ = ["add_commands"]
