"""DIM: multimodal entity linking on the Hugging Face stack.

DIM links a mention in a sentence, with a picture, to the entity of a knowledge base that it names.

    >>> from dim import DIMConfig
    >>> DIMConfig().model_type
    'dim'

`import dim` registers DIM with the Auto classes of transformers. Each public name is loaded when it is first used.
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .auto_classes import register_auto_classes

if TYPE_CHECKING:
    from .common.pictures import PictureError, load_picture
    from .configuration_dim import DIMConfig
    from .corpora.loading import load_candidates, load_dataset_folder, load_entities, load_mentions
    from .encoding.encode import encode_entities, encode_mentions
    from .encoding.loading import load_dim
    from .encoding.mention import Mention
    from .enhancement.answers import Question
    from .enhancement.clients.openai_client import OpenAIClient
    from .enhancement.enhance import enhance
    from .enhancement.entity_text import entity_texts
    from .enhancement.ledger import Ledger
    from .enhancement.prompts import load_prompt
    from .errors import DIMError
    from .evaluation.systems.name_match import NameMatch
    from .experts.blip2 import Blip2Expert
    from .experts.image_text import ImageTextToTextExpert
    from .experts.openai_compatible import OpenAIExpert
    from .kb.store import KnowledgeBase
    from .linking.calibrate import calibrate
    from .linking.calibration import Calibration
    from .linking.candidates import CandidateSearch
    from .linking.linker import DIMLinker
    from .linking.links import LinkedEntity, Links
    from .linking.reranker import Reranker
    from .losses_dim import n_pair_loss
    from .metrics.evaluator import RankingEvaluator
    from .metrics.intervals import paired_test, ranking_metrics_with_intervals
    from .metrics.ranks import gold_ranks, gold_ranks_from_embeddings, ranking_metrics
    from .modeling_dim import DIMModel, DIMOutput
    from .processing_dim import DIMProcessor

__version__ = "0.2.0"

_MODULES = {
    "Blip2Expert": "experts.blip2",
    "Calibration": "linking.calibration",
    "CandidateSearch": "linking.candidates",
    "DIMConfig": "configuration_dim",
    "DIMError": "errors",
    "DIMLinker": "linking.linker",
    "DIMModel": "modeling_dim",
    "DIMOutput": "modeling_dim",
    "DIMProcessor": "processing_dim",
    "ImageTextToTextExpert": "experts.image_text",
    "KnowledgeBase": "kb.store",
    "Ledger": "enhancement.ledger",
    "LinkedEntity": "linking.links",
    "Links": "linking.links",
    "Mention": "encoding.mention",
    "NameMatch": "evaluation.systems.name_match",
    "OpenAIClient": "enhancement.clients.openai_client",
    "OpenAIExpert": "experts.openai_compatible",
    "PictureError": "common.pictures",
    "Question": "enhancement.answers",
    "RankingEvaluator": "metrics.evaluator",
    "Reranker": "linking.reranker",
    "calibrate": "linking.calibrate",
    "encode_entities": "encoding.encode",
    "encode_mentions": "encoding.encode",
    "enhance": "enhancement.enhance",
    "entity_texts": "enhancement.entity_text",
    "gold_ranks": "metrics.ranks",
    "gold_ranks_from_embeddings": "metrics.ranks",
    "load_candidates": "corpora.loading",
    "load_dataset_folder": "corpora.loading",
    "load_dim": "encoding.loading",
    "load_entities": "corpora.loading",
    "load_mentions": "corpora.loading",
    "load_picture": "common.pictures",
    "load_prompt": "enhancement.prompts",
    "n_pair_loss": "losses_dim",
    "paired_test": "metrics.intervals",
    "ranking_metrics": "metrics.ranks",
    "ranking_metrics_with_intervals": "metrics.intervals",
}

__all__ = [
    "Blip2Expert",
    "Calibration",
    "CandidateSearch",
    "DIMConfig",
    "DIMError",
    "DIMLinker",
    "DIMModel",
    "DIMOutput",
    "DIMProcessor",
    "ImageTextToTextExpert",
    "KnowledgeBase",
    "Ledger",
    "LinkedEntity",
    "Links",
    "Mention",
    "NameMatch",
    "OpenAIClient",
    "OpenAIExpert",
    "PictureError",
    "Question",
    "RankingEvaluator",
    "Reranker",
    "calibrate",
    "encode_entities",
    "encode_mentions",
    "enhance",
    "entity_texts",
    "gold_ranks",
    "gold_ranks_from_embeddings",
    "load_candidates",
    "load_dataset_folder",
    "load_dim",
    "load_entities",
    "load_mentions",
    "load_picture",
    "load_prompt",
    "n_pair_loss",
    "paired_test",
    "ranking_metrics",
    "ranking_metrics_with_intervals",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dim' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _is_command() -> bool:
    """Whether this process is the command `dim` or `python -m dim`, which registers DIM when it loads a model."""
    program = Path(sys.argv[0]).stem if sys.argv else ""
    return program == "dim" or (program == "-m" and "dim" in sys.orig_argv)


if not _is_command():  # `dim --help` answers at once, without torch
    register_auto_classes()
