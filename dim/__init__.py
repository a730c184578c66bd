"""DIM: multimodal entity linking on the Hugging Face stack.

DIM links a mention in a sentence, with a picture, to the entity of a knowledge base that it names.

    >>> from dim import DIMConfig
    >>> DIMConfig().model_type
    'dim'

`import dim` registers DIM with the Auto classes of transformers. Each public name is loaded when it is first used.
"""

import sys
from pathlib import Path

import lazy_loader

from .auto_classes import register_auto_classes

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _is_command() -> bool:
    """Whether this is `dim`, `python -m dim` or the checkout's train.py, which register DIM when they load a model."""
    program = Path(sys.argv[0]) if sys.argv else Path()
    train = Path(__file__).parents[1] / "train.py"
    return program.stem == "dim" or (program.stem == "-m" and "dim" in sys.orig_argv) or program.resolve() == train


if not _is_command():  # `dim --help` answers at once, without torch
    register_auto_classes()
