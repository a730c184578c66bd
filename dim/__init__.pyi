"""The public names of `dim` and the modules that hold them; `lazy_loader` reads this file, and so do type checkers."""

from .common.pictures import load_picture
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
from .errors import DIMError, PictureError
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
from .training.arguments import DataArguments, ModelArguments, TrainArguments
from .training.collator import DIMCollator
from .training.trainer import DIMTrainer

__version__: str

__all__ = [
    "Blip2Expert", "Calibration", "CandidateSearch", "DIMCollator", "DIMConfig", "DIMError", "DIMLinker", "DIMModel",
    "DIMOutput", "DIMProcessor", "DIMTrainer", "DataArguments", "ImageTextToTextExpert", "KnowledgeBase", "Ledger",
    "LinkedEntity", "Links", "Mention", "ModelArguments", "NameMatch", "OpenAIClient", "OpenAIExpert", "PictureError",
    "Question", "RankingEvaluator", "Reranker", "TrainArguments", "calibrate", "encode_entities", "encode_mentions",
    "enhance", "entity_texts", "gold_ranks", "gold_ranks_from_embeddings", "load_candidates", "load_dataset_folder",
    "load_dim", "load_entities", "load_mentions", "load_picture", "load_prompt", "n_pair_loss", "paired_test",
    "ranking_metrics", "ranking_metrics_with_intervals",
]  # fmt: skip
