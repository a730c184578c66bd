"""One line in the log about pictures that a model does not use."""

import logging

from dim.configuration_dim import DIMConfig

logger = logging.getLogger(__name__)


def warn_of_unused_pictures(config: DIMConfig, mentions: int = 0, entities: int = 0) -> None:
    """Logs one line if there are pictures that a model does not use.

    Args:
        config: The model's configuration.
        mentions: Number of mentions with pictures.
        entities: Number of entities with pictures.

    Example:

        >>> warn_of_unused_pictures(DIMConfig(), mentions=3, entities=5)  # uses all of them
    """
    unused = {
        "mentions": 0 if "picture" in config.mention_modalities else mentions,
        "entities": 0 if config.entity_pictures else entities,
    }
    words = [f"{count:,} {what}" for what, count in unused.items() if count]
    if words:
        why = "uses none there" if config.uses_pictures else "has no vision tower"
        logger.warning("the model %s: the pictures of %s are not used", why, " and ".join(words))
