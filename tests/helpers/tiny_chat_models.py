"""Chat models with pictures of a few layers, with random weights and tokens of one byte."""

from pathlib import Path

import torch

TEMPLATE = (
    "</s>{% for m in messages %}{{ m.role }}: {% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def byte_tokenizer(*special: str):
    """A tokenizer whose tokens are bytes; it puts `</s>` before a text."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import GPT2Tokenizer

    pieces = ["<pad>", "</s>", *special, *sorted(ByteLevel.alphabet())]
    return GPT2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
        add_bos_token=True,
        extra_special_tokens=list(special),
    )


TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.5,  # wide: with the default, a random model gives every picture the same answer
}
VISION = {
    **{key: TEXT[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
}


def save_llava(folder: Path) -> None:
    """A LLaVA: the same number of patches for every picture."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = byte_tokenizer("<image>")
    square = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            **VISION,
            "image_size": 32,
            "patch_size": 8,
            "projection_dim": 32,
        },
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 512, **TEXT},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def save_smolvlm(folder: Path) -> None:
    """An Idefics3, like SmolVLM: large pictures become several tiles, so prompts differ in length."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = byte_tokenizer("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE,
    )
    config = Idefics3Config(
        vision_config={**VISION, "image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 2048, **TEXT},
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
