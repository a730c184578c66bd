"""`dim caption`: a vision-language model's captions of a dataset's pictures."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dim.cli.command import Command
from dim.common.parser import option
from dim.errors import DIMError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from dim.experts.captioned_dataset import Source
    from dim.experts.expert import Expert


@dataclass(kw_only=True)
class Caption(Command):
    """Asks an expert about the picture of each mention and writes the dataset anew with its captions in expert_answer,
    expert_model and expert_prompt. Each picture is asked about once; after a stop, the same command goes on. Several
    GPUs: accelerate launch --multi_gpu --num_processes N -m dim caption ...
    """

    dataset: str = option("folder or Hub name of a dataset with the config `mentions`", positional=True,
                          metavar="DATASET")  # fmt: skip
    out: Path = option("the new dataset's folder", metavar="DIR")
    expert: Literal["blip2", "image-text-to-text", "openai"] = option("whom to ask")
    vlm: str | None = option("the vision-language model: a checkpoint, or the server's name of it; default for blip2: "
                             "Salesforce/blip2-opt-2.7b", None, metavar="NAME")  # fmt: skip
    revision: str | None = option("branch, tag or commit of the checkpoint", None)
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = option("type of the weights; auto: as stored", "auto")
    base_url: str | None = option("an OpenAI-compatible server, up to /v1; default: OpenAI", None, metavar="URL")
    prompt: str = option("default, paper, or a question; {mention} becomes the mention", "default")
    max_new_tokens: int = option("longest caption", 20, least=1, metavar="N")
    batch_size: int = option("pictures at a time", 8, least=1, metavar="N")
    retry_unreadable: bool = option("ask again where a paid answer could not be read", False)
    max_pixels: int | None = option("larger pictures are left out; default: 80 million", None, least=1, metavar="N")
    cache: Path | None = option("file of the cached captions; default: one for all datasets", None, metavar="FILE")

    def run(self) -> int:
        """Asks, and writes the new dataset.

        Returns:
            The exit code: 1 if no picture got an answer because requests failed or were refused.
        """
        from dim.common.locks import locked
        from dim.enhancement.answers import check_sendable
        from dim.experts.cache import DEFAULT
        from dim.experts.captioned_dataset import check_out, find_dataset
        from dim.processing_dim import EXPERT_PROMPTS

        prompt = EXPERT_PROMPTS.get(self.prompt, self.prompt)
        check_sendable("--prompt", prompt)
        source = find_dataset(self.dataset)
        check_out(source, self.out)
        cache = self.cache or DEFAULT
        with locked(self.out, "dim caption"), locked(cache, "dim caption"):
            return self._caption(source, prompt, cache)

    def _caption(self, source: "Source", prompt: str, cache_file: Path) -> int:
        from datetime import timedelta

        from accelerate import Accelerator, InitProcessGroupKwargs

        from dim.common.pictures import MAX_PIXELS
        from dim.experts.cache import AnswerCache
        from dim.experts.captioned_dataset import UNANSWERED, write_captioned
        from dim.experts.captioning import CaptionRequest, ask_expert
        from dim.training.distributed import check_processes

        # Processes whose share is done wait for the others, however long these take.
        accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=30))])
        check_processes(accelerator, None)
        with accelerator.main_process_first():  # SQLite refuses two that make a file at once
            cache = AnswerCache(cache_file)
        expert = self._expert(accelerator)
        request = CaptionRequest(expert.identity, prompt, self.max_new_tokens, self.max_pixels or MAX_PIXELS)
        paths = [path for paths in source.files.values() for path in paths]
        asked = ask_expert(paths, expert, request, cache, batch_size=self.batch_size, rank=accelerator.process_index,
                           processes=accelerator.num_processes, retry_unreadable=self.retry_unreadable,
                           progress=True)  # fmt: skip
        print(f"process {accelerator.process_index}: {asked:,} pictures asked about")
        accelerator.wait_for_everyone()
        code = 0
        if accelerator.is_main_process:
            answered, unanswered = write_captioned(source, self.out, request, cache)
            kinds = Counter(one.kind for one in unanswered)
            listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
            print(f"{answered:,} mentions with an answer, {len(unanswered):,} pictures without ({UNANSWERED})"
                  f"{': ' if kinds else ''}{listed}")  # fmt: skip
            if kinds["cut off"]:
                print(f"{kinds['cut off']:,} answers were cut off at --max-new-tokens {self.max_new_tokens}: raise it")
            print(self.out)
            code = int(not answered and bool(kinds["failed"] + kinds["refused"]))
        accelerator.wait_for_everyone()
        accelerator.end_training()
        cache.close()
        return code

    def _expert(self, accelerator: "Accelerator") -> "Expert":
        is_local = self.expert != "openai"
        if is_local and self.base_url is not None:
            raise DIMError(f"--base-url is for --expert openai, not for {self.expert}.")
        if not is_local and (self.revision is not None or self.dtype != "auto"):
            raise DIMError("--revision and --dtype are for experts that run here, not for --expert openai.")
        if self.expert != "blip2" and self.vlm is None:
            raise DIMError(f"--expert {self.expert} needs --vlm.")
        if not is_local:
            from dim.experts.openai_compatible import OpenAIExpert

            return OpenAIExpert(str(self.vlm), self.base_url)
        import torch

        from dim.common.hub import check_repository
        from dim.experts.blip2 import MODEL, Blip2Expert
        from dim.experts.image_text import ImageTextToTextExpert

        expert = Blip2Expert if self.expert == "blip2" else ImageTextToTextExpert
        dtype = None if self.dtype == "auto" else getattr(torch, self.dtype)
        name = self.vlm or MODEL
        check_repository(name, "checkpoint", revision=self.revision)
        try:
            return expert.from_pretrained(name, device=accelerator.device, dtype=dtype, revision=self.revision)
        except (OSError, ValueError) as error:
            raise DIMError(
                f"The checkpoint {name} cannot be loaded: {' '.join(str(error).splitlines()[:1])}"
            ) from error
