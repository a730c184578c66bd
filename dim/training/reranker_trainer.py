"""Trains a reranker, a cross-encoder, on the mentions of which a linker is unsure."""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from dim.common.checksums import verify_checksums, write_checksums
from dim.common.files import remove_folder, scratch_folder, write_json
from dim.encoding.mention import mentions_of
from dim.errors import DIMError
from dim.linking.linker import DIMLinker
from dim.linking.reranker import entity_text, mention_text, pair_inputs
from dim.losses_dim import n_pair_loss
from dim.training.checkpoints import checkpoints, publish
from dim.training.identity import differences, digest_of
from dim.training.safe_state import reading

_MARK = "run.json"
_DECISIVE = ("num_train_epochs", "per_device_train_batch_size", "learning_rate", "weight_decay", "bf16", "seed")
_SURE = 0.995  # a mention is not trained on if the linker gives its gold a higher probability


class _PairCollator:
    """Makes a batch of a mention's pairs with its candidates."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, entities: list[str]):
        self.tokenizer, self.entities = tokenizer, entities

    def __call__(self, examples: Sequence[tuple[str, Tensor]]) -> dict[str, Tensor]:
        mentions = [mention for mention, rows in examples for _ in rows]
        entities = [self.entities[row] for _, rows in examples for row in rows.tolist()]
        golds = torch.zeros(len(examples), dtype=torch.long)
        return {**pair_inputs(self.tokenizer, mentions, entities), "golds": golds}


class _NPairTrainer(Trainer):
    """A `Trainer` with the N-pair loss among each mention's candidates. A checkpoint is complete or absent."""

    def compute_loss(self, model: Any, inputs: dict, return_outputs: bool = False, **kwargs: Any) -> Any:
        golds = inputs.pop("golds")
        outputs = model(**inputs)
        loss = n_pair_loss(outputs.logits.float().view(len(golds), -1), golds)
        return (loss, outputs) if return_outputs else loss

    def _save_checkpoint(self, *given: Any, **options: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with scratch_folder(folder, folder):
            super()._save_checkpoint(*given, **options)
            if self.is_world_process_zero():
                write_checksums(folder)


def train_reranker(
    linker: DIMLinker,
    mentions: datasets.Dataset,
    arguments: TrainingArguments,
    tower: str | None = None,
    examples: int = 6_000,
    candidates: int = 6,
    max_length: int = 96,
    overwrite: bool = False,
) -> None:
    """Trains a cross-encoder on the mentions of which a linker is unsure, and saves it.

    A mention is trained on its gold and the other candidates that the linker ranks highest. The loss uses the
    cross-encoder's score alone: trained on the sum of both scores, it relied on the linker's. A restarted run resumes
    from its last checkpoint; another run's is refused.

    Args:
        linker: The linker, without a reranker.
        mentions: The split on which the linker's model was trained.
        arguments: Arguments of transformers' `Trainer`; the reranker is saved in `output_dir`.
        tower: Folder or Hub name of an encoder to start from; the text tower of the linker's model by default.
        examples: Mentions to train on, at most.
        candidates: Entities for each mention, including the gold.
        max_length: Tokens of a pair, at most.
        overwrite: Whether to replace an earlier reranker and its checkpoints in `output_dir`.

    Raises:
        DIMError: If the tower does not support sequence classification, there is no mention whose gold the linker
            finds and of which it is unsure, or `output_dir` holds a reranker of another run.
    """
    set_seed(arguments.seed)
    folder = Path(str(arguments.output_dir))
    settings = {name: getattr(arguments, name) for name in _DECISIVE}
    run = {"settings": settings | {"examples": examples, "candidates": candidates, "max_length": max_length}}
    _check_same(folder, run, overwrite)
    model, tokenizer = _start(linker, tower)
    tokenizer.model_max_length = max_length
    data: Any = _examples(linker, mentions, examples, candidates, arguments.seed)
    known = linker.kb.table(["name", "description"]).to_pylist()
    texts = [entity_text(row["name"], row["description"]) for row in known]
    pairs = [(text, [texts[row] for row in rows.tolist()]) for text, rows in data]
    start = digest_of([], list(model.state_dict().values()))
    run |= {"content": {"the training pairs": digest_of(pairs, []), "the model to start from": start}}
    _check_same(folder, run, overwrite)
    for path in folder.glob("checkpoint-*"):
        if overwrite or path not in checkpoints(folder):  # a killed run may leave an incomplete one
            remove_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _MARK, run)
    trainer = _NPairTrainer(model, arguments, train_dataset=data, data_collator=_PairCollator(tokenizer, texts))
    found = checkpoints(folder)
    if found:
        verify_checksums(found[-1])
    trainer.train(resume_from_checkpoint=bool(found))  # reads its states as weights only, which runs no code

    def save(temporary: Path) -> None:
        trainer.save_model(str(temporary))
        tokenizer.save_pretrained(temporary)

    publish(folder, save)


def _check_same(folder: Path, run: dict[str, dict], overwrite: bool) -> None:
    """Raises `DIMError` if a folder holds another run's reranker or checkpoints."""
    if overwrite or not (any(folder.glob("checkpoint-*")) or (folder / "model.safetensors").exists()):
        return
    with reading(folder):
        known = json.loads((folder / _MARK).read_text(encoding="utf-8")) if (folder / _MARK).exists() else {}
        found = [differences(known.get(kind, {}), values) for kind, values in run.items()]
    if not known or any(found):
        why = "; ".join(filter(None, found)) or "it does not say which"
        raise DIMError(f"{folder} holds a reranker of another run ({why}): replace it by --overwrite.")


def _start(linker: DIMLinker, tower: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads an encoder with a new head, and its tokenizer."""
    try:
        if tower is not None:
            model = AutoModelForSequenceClassification.from_pretrained(tower, num_labels=1, trust_remote_code=False)
            return model, AutoTokenizer.from_pretrained(tower, trust_remote_code=False)
        config = deepcopy(linker.model.config.text_config)
        config.num_labels = 1
        model = AutoModelForSequenceClassification.from_config(config)
    except (OSError, ValueError) as error:
        raise DIMError(
            f"{tower or 'The text tower of the model'} does not support sequence classification: give --tower an "
            "encoder that does, such as a BERT."
        ) from error
    model.base_model.load_state_dict(linker.model.text_model.state_dict(), strict=False)  # it may lack a pooler
    return model, deepcopy(linker.processor.tokenizer)


def _examples(
    linker: DIMLinker, mentions: datasets.Dataset, count: int, candidates: int, seed: int
) -> list[tuple[str, Tensor]]:
    """Selects mentions at random, each with the indices of its candidates `(C,)`, the gold first."""
    golds = mentions["entity_id"][:]
    gold = torch.tensor([linker.kb.row_of.get(name, -1) for name in golds])
    parts = list(linker.rank(mentions, progress=True))
    rows, scores = torch.cat([part.rows for part in parts]), torch.cat([part.scores for part in parts])
    is_gold = (rows == gold[:, None]) & (rows >= 0)
    sure = (scores.double().softmax(1) * is_gold).sum(1)
    unsure = (is_gold.any(1) & (sure < _SURE) & (rows >= 0).sum(1).ge(candidates)).nonzero().flatten()
    if len(unsure) == 0:
        raise DIMError("There is no mention whose gold the linker finds and of which it is unsure to train on.")
    order = torch.randperm(len(unsure), generator=torch.Generator().manual_seed(seed))
    unsure = unsure[order[:count]]
    gold_first = is_gold[unsure].int().argsort(dim=1, descending=True, stable=True)[:, :candidates]
    texts = [mention_text(mention) for mention in mentions_of(mentions.select(unsure.tolist()))]
    return list(zip(texts, rows[unsure].gather(1, gold_first), strict=True))
