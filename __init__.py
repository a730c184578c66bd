"""DIM: multimodal entity linking on the Hugging Face stack.

A mention in a sentence, with a picture, goes to the entity of a knowledge base that it names.

    >>> from dim import DIMConfig
    >>> DIMConfig().model_type
    'dim'
"""

if __name__ != "dim":
    raise ImportError(
        f"The package 'dim' was imported under the name {__name__!r}. Install it (`pip install -e .`) and use "
        "`import dim`; the repository root must not be imported under the name of its folder."
    )

from transformers import AutoConfig, AutoModel, AutoProcessor

from .configuration_dim import DIMConfig
from .losses_dim import n_pair_loss
from .modeling_dim import DIMModel, DIMOutput
from .processing_dim import DIMProcessor

__version__ = "0.1.0"

AutoConfig.register("dim", DIMConfig)
AutoModel.register(DIMConfig, DIMModel)
AutoProcessor.register(DIMConfig, DIMProcessor)

# What `save_pretrained` and `push_to_hub` write next to the weights, so that `trust_remote_code=True` works anywhere.
DIMConfig.register_for_auto_class()
DIMModel.register_for_auto_class("AutoModel")
DIMProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["DIMConfig", "DIMModel", "DIMOutput", "DIMProcessor", "n_pair_loss"]
