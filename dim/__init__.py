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
    """Whether this process is the command `dim` or `python -m dim`, which registers DIM when it loads a model."""
    program = Path(sys.argv[0]).stem if sys.argv else ""
    return program == "dim" or (program == "-m" and "dim" in sys.orig_argv)


if not _is_command():  # `dim --help` answers at once, without torch
    register_auto_classes()
