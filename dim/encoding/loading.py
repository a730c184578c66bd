"""Loading of a model with its processor, and fingerprints of encoders."""

import hashlib
import json
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase
from transformers.utils import cached_file

from dim.auto_classes import register_auto_classes
from dim.common.checksums import CHECKSUMS, verify_checksums
from dim.common.hub import check_repository
from dim.errors import DIMError
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor

register_auto_classes()

_SHOWN = 300  # characters of an error of another library
_NOT_HASHED = ("_", "transformers", "text_width", "vision_width", "custom_pipelines")  # widths: those of the weights


def load_dim(model: str | Path) -> tuple[DIMModel, DIMProcessor]:
    """Loads a DIM and its processor. Code in its repository never runs, and nobody is asked whether it may.

    Args:
        model: Folder or Hub name.

    Returns:
        The model, in float32 and evaluation mode, and its processor.

    Raises:
        DIMError: If there is no such model, the Hub cannot be reached, or a file is damaged.

    Example:

        >>> model, processor = load_dim("demo/model")
        >>> type(model).__name__, type(processor).__name__
        ('DIMModel', 'DIMProcessor')
    """
    check_repository(model, "model")
    if Path(model).is_dir():
        verify_checksums(Path(model))
    try:
        network = DIMModel.from_pretrained(model, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
        loaded = network.eval(), DIMProcessor.from_pretrained(model, trust_remote_code=False)
        if not Path(model).is_dir():
            _verify_download(str(model))
        return loaded
    except DIMError:
        raise
    except OSError as error:
        why = str(error).splitlines()[0]
        raise DIMError(f"There is no model {str(model)!r}, neither as a folder nor on the Hub ({why}).") from error
    except Exception as error:  # of safetensors, tokenizers, or the config's checks
        why = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
        raise DIMError(f"The model {str(model)!r} cannot be loaded; a file of it may be damaged ({why}).") from error


def _verify_download(model: str) -> None:
    """Verifies the files of a model in the Hub cache."""
    found = cached_file(model, CHECKSUMS, _raise_exceptions_for_missing_entries=False,
                        _raise_exceptions_for_connection_errors=False)  # fmt: skip
    if found is not None:
        verify_checksums(Path(found).parent, complete=False)


def fingerprint(model: DIMModel, processor: DIMProcessor) -> str:
    """Returns a hash of config, processor and weights, which identifies an encoder.

    Args:
        model: A DIM.
        processor: Its processor.

    Returns:
        32 hexadecimal digits, which do not depend on where the model is stored.
    """
    config = {key: value for key, value in model.config.to_dict().items() if not key.startswith(_NOT_HASHED)}
    if not config.get("attend_to_padding"):
        config.pop("attend_to_padding", None)  # older configs do not have it
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    settings = [processor.max_text_length, processor.text_padding, processor.mention_marks, processor.entity_template]
    digest.update(json.dumps(settings).encode())
    pixels = {key: value for key, value in processor.image_processor.to_dict().items() if _decides_pixels(key, value)}
    digest.update(json.dumps(pixels, sort_keys=True, default=str).encode())
    digest.update(_rules_of(processor.tokenizer).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _decides_pixels(key: str, value: object) -> bool:
    """Whether a setting of an image processor decides the pixels: not a class name or a default that is not set."""
    return value is not None and key.startswith(("do_", "size", "crop_", "resample", "rescale_", "image_m", "image_s"))


def _rules_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The vocabulary and the rules of a tokenizer, without the truncation and padding of its last call."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    text = backend.to_str()
    return text[text.index('"added_tokens"') :]
