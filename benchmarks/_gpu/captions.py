"""Captions by BLIP-2 in batches and one at a time."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessorPil,
    GPT2Tokenizer,
)

from _gpu.processes import Found
from _gpu.timing import device, median, times
from dim import Blip2Expert

NEW_TOKENS = 20


def expert(tiny: bool) -> Blip2Expert:
    """A BLIP-2 with random weights: that of `Salesforce/blip2-opt-2.7b` in size and type, or a tiny one."""
    pieces = ["<pad>", "</s>", *sorted(ByteLevel.alphabet())]
    tokenizer = GPT2Tokenizer(vocab={piece: row for row, piece in enumerate(pieces)}, merges=[], bos_token="</s>",
                              eos_token="</s>", unk_token="</s>", pad_token="<pad>", add_bos_token=True)  # fmt: skip
    side, queries = (32, 4) if tiny else (224, 32)
    processor = Blip2Processor(BlipImageProcessorPil(size={"height": side, "width": side}), tokenizer,
                               num_query_tokens=queries)  # fmt: skip
    tokens = {"model_type": "opt", "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    if tiny:
        tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        vision, qformer = {**tower, "image_size": side, "patch_size": 8}, tower
        text = {**tower, "ffn_dim": 64, "word_embed_proj_dim": 32, "vocab_size": len(tokenizer)}
    else:  # the defaults of vision tower (EVA-CLIP g) and Q-Former are those of the checkpoint
        vision, qformer = {}, {}
        text = {"hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32, "ffn_dim": 10240,
                "word_embed_proj_dim": 2560, "vocab_size": 50304}  # fmt: skip
    config = Blip2Config(vision_config=vision, qformer_config=qformer, text_config={**tokens, **text},
                         num_query_tokens=queries,
                         image_token_index=tokenizer.convert_tokens_to_ids(processor.image_token.content if hasattr(
                             processor.image_token, "content") else processor.image_token))  # fmt: skip
    dtype = torch.float16 if torch.cuda.is_available() else torch.float32
    with device():
        model = Blip2ForConditionalGeneration(config).to(dtype)
    for part in (model, model.language_model):  # so that random weights cannot end an answer early
        part.generation_config.eos_token_id = None
    return Blip2Expert(model, processor, "random@1")


def measure(tiny: bool, work: Path) -> Found:
    """Pictures per second of `answer`, pictures prepared on the CPU included."""
    many, single = (4, 2) if tiny else (64, 4)
    blip2 = expert(tiny)
    draw = np.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 255, (12, 16, 3), np.uint8)).resize((400, 300)) for _ in range(many)]
    options = {"prompts": "Question: what is this? Answer:", "max_new_tokens": NEW_TOKENS}
    alone = [seconds / single for seconds in
             times(lambda: blip2.answer(images[:single], batch_size=1, **options), 3, warm=1)]  # fmt: skip
    batched = {}
    for size in sorted({8, many}):
        batched[size] = many / median(
            times(lambda size=size: blip2.answer(images, batch_size=size, **options), 2, warm=1)
        )
    rate, ratio = batched[many], batched[many] * median(alone)
    parameters = sum(parameter.numel() for parameter in blip2.model.parameters())
    summary = (f"{rate:.1f} : {1 / median(alone):.2f} pictures/s = {ratio:.1f}x (batch of {many}); "
               f"{batched[min(batched)]:.1f} with the default batch of {min(batched)}; {parameters / 1e9:.2f} billion "
               "weights")  # fmt: skip
    memory = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    figures = {"pictures/s by batch size": batched, "pictures/s, one at a time": 1 / median(alone), "ratio": ratio,
               "peak memory GB": memory}  # fmt: skip
    return Found(summary, None if tiny else ratio >= 8, figures)
