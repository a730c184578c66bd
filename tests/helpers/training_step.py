"""A tiny model and its data, in float64, for the tests of one training step."""

import torch

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.lexical_dim import LEXICAL_FEATURES
from dim.training.arguments import DataArguments
from dim.training.data import MELData


def model_for(processor, dropout=0.0):
    """A tiny double-precision DIM whose lexical prior says something."""
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokenizer = processor.tokenizer
    text = {"model_type": "clip_text_model", "vocab_size": len(tokenizer), "max_position_embeddings": 77,
            "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id, **tower}  # fmt: skip
    size = processor.image_processor.crop_size["height"]
    vision = {"model_type": "clip_vision_model", "image_size": size, "patch_size": size // 2, **tower}
    config = DIMConfig(text_config=text, vision_config=vision, projection_dim=32, num_attention_heads=4,
                       dropout=dropout, num_lexical_features=len(LEXICAL_FEATURES))  # fmt: skip
    model = DIMModel(config).double().train()
    torch.nn.init.normal_(model.lexical_prior.output_weight)
    return model


def data_for(dataset, dim, folder, **arguments):
    processor = DIMProcessor.from_pretrained(dim)
    fields = {"dataset": str(dataset), "negatives": "candidates", "num_candidates": 2, "picture_dropout": 0.4}
    config = DIMConfig(num_lexical_features=len(LEXICAL_FEATURES))
    return MELData(DataArguments(**(fields | arguments)), processor, folder / "p.u8", config)


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def as_double(batch):
    batch.inputs = {
        name: value.double() if value.is_floating_point() else value for name, value in batch.inputs.items()
    }
    return batch
