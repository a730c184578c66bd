"""DIM: multimodal entity linking on the Hugging Face stack.

DIM links a mention in a sentence, with a picture, to the entity of a knowledge base that it names.

    >>> from dim import DIMConfig
    >>> DIMConfig().model_type
    'dim'

`import dim` makes DIM known to the Auto classes of transformers. Each name below is loaded when it is first used.
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .auto_classes import register_auto_classes

if TYPE_CHECKING:
    from .configuration_dim import DIMConfig
    from .losses_dim import n_pair_loss
    from .modeling_dim import DIMModel, DIMOutput
    from .processing_dim import DIMProcessor

__version__ = "0.2.0"

_MODULES = {
    "DIMConfig": "configuration_dim",
    "DIMModel": "modeling_dim",
    "DIMOutput": "modeling_dim",
    "DIMProcessor": "processing_dim",
    "n_pair_loss": "losses_dim",
}

__all__ = ["DIMConfig", "DIMModel", "DIMOutput", "DIMProcessor", "n_pair_loss"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dim' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _is_command() -> bool:
    """Whether this process is the command `dim` or `python -m dim`, which registers when it loads a model."""
    program = Path(sys.argv[0]).stem if sys.argv else ""
    return program == "dim" or (program == "-m" and "dim" in sys.orig_argv)


if not _is_command():  # `dim --help` answers at once, without torch
    register_auto_classes()
