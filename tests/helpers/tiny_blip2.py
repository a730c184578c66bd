"""A BLIP-2 checkpoint of random weights."""

from pathlib import Path

import torch


def save_tiny_blip2(folder: Path) -> Path:
    """Write a BLIP-2 with OPT (hidden size 32, 2 layers each, 4 query tokens, 32 px, bytes as tokens)."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessorPil,
        GPT2Tokenizer,
    )

    pieces = ["<pad>", "</s>", *sorted(ByteLevel.alphabet())]
    tokenizer = GPT2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
        add_bos_token=True,
    )
    processor = Blip2Processor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer, num_query_tokens=4)
    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    # Wide initial weights: with the default ones, a random model gives every picture the same answer.
    config = Blip2Config(
        vision_config={**tower, "intermediate_size": 64, "image_size": 32, "patch_size": 8, "initializer_range": 0.5},
        qformer_config={**tower, "intermediate_size": 64, "vocab_size": 8, "initializer_range": 0.5},
        text_config={**tower, **tokens, "model_type": "opt", "ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.5},
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
