"""Registration of DIM with the Auto classes of transformers."""


def register_auto_classes() -> None:
    """Registers DIM with `AutoConfig`, `AutoModel` and `AutoProcessor`. `import dim` calls it, except in the command
    `dim`, which imports transformers and torch only when it loads a model.

    Example:

        >>> from transformers import AutoConfig
        >>> register_auto_classes()
        >>> type(AutoConfig.for_model("dim")).__name__
        'DIMConfig'
    """
    from transformers import AutoConfig, AutoModel, AutoProcessor

    from .configuration_dim import DIMConfig
    from .modeling_dim import DIMModel
    from .processing_dim import DIMProcessor

    AutoConfig.register("dim", DIMConfig, exist_ok=True)
    AutoModel.register(DIMConfig, DIMModel, exist_ok=True)
    AutoProcessor.register(DIMConfig, DIMProcessor, exist_ok=True)
