"""Evaluates a model and baselines on a split of a dataset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from dim.common.ids import index_of
from dim.corpora.loading import commit_of, load_candidates, load_entities, load_mentions, splits_of
from dim.errors import DIMError
from dim.evaluation import report_numbers
from dim.evaluation.examples import make_examples
from dim.evaluation.outcome import Outcome, halves, run_system
from dim.evaluation.slices import Table, make_slices
from dim.evaluation.systems.base import System
from dim.evaluation.systems.baselines import BM25, CharNgrams, FuzzyName, Popularity
from dim.evaluation.systems.dim import Encoder
from dim.evaluation.systems.zero_shot import ZeroShotPicture, ZeroShotText
from dim.folding_dim import fold
from dim.metrics.protocols import LIMIT, CandidateLists, dim_limit, find_protocol

BASELINES = ("fuzzy", "bm25", "ngrams", "popularity", "text", "picture")
SLICES = ("name", "entity", "picture", "form", "type", "description", "enhancement")
SEED = 0


@dataclass(frozen=True)
class Settings:
    """Settings of an evaluation.

    Args:
        dataset: Folder or Hub name.
        model: Folder or Hub name of a DIM; `None` for baselines alone.
        split: `train`, `validation` or `test`.
        protocols: Names of [`dim.metrics.protocols.PROTOCOLS`]; slices, calibration and examples use the first.
        baselines: Names from `BASELINES`.
        slices: Names from `SLICES`.
        text_tower: Text encoder of the baseline `text`.
        towers: Checkpoint with text and vision tower, for the baseline `picture`.
        samples: Number of bootstrap samples.
        examples: Largest number of mentions in the error browser.
        batch_size: Number of rows in a batch.
        progress: Whether to show progress bars.

    Raises:
        DIMError: If a name is unknown, a number is too small, or there is nothing to evaluate.

    Example:
        >>> settings = Settings("datasets/namesakes", model="demo/model", baselines=("fuzzy", "bm25"), slices=("name",))
        >>> settings.split, settings.protocols
        ('validation', ('full_kb',))
    """

    dataset: str
    model: str | None = None
    split: str = "validation"
    protocols: Sequence[str] = ("full_kb",)
    baselines: Sequence[str] = BASELINES
    slices: Sequence[str] = SLICES
    text_tower: str | None = None
    towers: str | None = None
    samples: int = 1000
    examples: int = 500
    batch_size: int = 64
    progress: bool = False

    def __post_init__(self) -> None:
        for protocol in self.protocols:
            find_protocol(protocol)
        for what, given, known in (("baseline", self.baselines, BASELINES), ("slice", self.slices, SLICES)):
            unknown = next((name for name in given if name not in known), None)
            if unknown is not None:
                raise DIMError(f"there is no {what} {unknown!r}; there are {', '.join(known)}.")
        for name, least in (("samples", 100), ("examples", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise DIMError(f"{name} is {getattr(self, name)}: give at least {least}.")
        if not self.protocols or (self.model is None and not self.baselines):
            raise DIMError("there is nothing to evaluate: give a protocol, and a model or a baseline.")


@dataclass
class Report:
    """Results of an evaluation.

    Args:
        numbers: All numbers, as plain JSON.
        examples: Mentions with the best entities of the first system, for the error browser.

    Example:
        >>> report = evaluate(Settings("datasets/namesakes", baselines=("fuzzy",), slices=(), samples=100, examples=3))
        >>> [system["name"] for system in report.numbers["systems"]], len(report.examples)
        (['fuzzy name'], 3)
    """

    numbers: dict[str, Any]
    examples: list[dict[str, Any]] = field(default_factory=list)


def evaluate(settings: Settings) -> Report:
    """Runs every system on a split and returns the report.

    Args:
        settings: The settings.

    Returns:
        The report. The first system is the model, or the first baseline if there is no model.

    Raises:
        DIMError: If the dataset, the model or a tower is missing or invalid, or a score is not finite.

    Example:
        >>> settings = Settings("datasets/namesakes", baselines=("fuzzy",), slices=(), samples=100, examples=0)
        >>> [system] = evaluate(settings).numbers["systems"]
        >>> hits = system["metrics"]["full_kb"]["H@1"]  # with the bounds of its 95 % interval
        >>> round(hits["value"], 1), hits["low"] < hits["value"] < hits["high"]
        (48.3, True)
    """
    dataset = settings.dataset
    entities, mentions = load_entities(dataset), load_mentions(dataset, settings.split)
    train = load_mentions(dataset, "train") if settings.split != "train" and "train" in splits_of(dataset) else None
    index = index_of(entities["id"][:])
    table = Table.of(mentions, entities, train, index, dataset)
    if not bool((table.gold >= 0).any()):
        raise DIMError(f"{dataset}: no mention of the split {settings.split!r} has an entity.")
    lists = _lists(settings, mentions, table, index)

    encoder = _encoder(settings, entities)
    systems, not_run = _systems(settings, encoder, entities, mentions, table)
    outcomes = [
        run_system(system, mentions, table.gold, settings.protocols, lists, dim_limit(dataset))
        for system in tqdm(systems, desc="systems", disable=not settings.progress)
    ]
    made = make_slices(table)
    slices = {group: made[group] for group in settings.slices if group in made}
    sentences = [text or name for text, name in zip(mentions["sentence"][:], mentions["id"][:], strict=True)]
    numbers = _numbers(settings, table, halves(sentences), lists, outcomes, slices)
    examples = make_examples(outcomes, mentions, entities, table, slices, encoder, settings.examples, settings.progress)
    return Report({**numbers, "dataset_commit": commit_of(mentions), "not run": not_run}, examples)


def _numbers(
    settings: Settings, table: Table, half: Tensor, lists: CandidateLists | None, outcomes: list[Outcome], slices: dict
) -> dict[str, Any]:
    groups = [fold(text) or f"picture alone {row}" for row, text in enumerate(table.mentions)]
    recalls = {f"recall@{k}": 100 * lists.recall(table.gold, k) for k in (1, 10, 100)} if lists is not None else None
    return {
        "dataset": settings.dataset,
        "split": settings.split,
        "model": settings.model,
        "mentions": len(table.mentions),
        "NIL mentions": int((table.gold < 0).sum()),
        "entities": len(table.names),
        "with picture": sum(table.has_picture),
        "intervals": f"95 %, bootstrap of {len(set(groups)):,} surface forms, {settings.samples:,} samples",
        "protocols": {name: _protocol(name, settings.dataset) for name in settings.protocols},
        "candidates": recalls,
        "systems": [
            _system(outcome, settings, slices, groups, half)
            for outcome in tqdm(outcomes, desc="intervals", disable=not settings.progress)
        ],
        "tests": _tests(outcomes, settings, groups),
    }


def _lists(settings: Settings, mentions: Any, table: Table, index: dict[str, int]) -> CandidateLists | None:
    """The mentions' candidates, if a protocol needs them."""
    in_need = [protocol for protocol in settings.protocols if protocol != "full_kb"]
    if not in_need:
        return None
    if settings.split not in splits_of(settings.dataset, "candidates"):
        raise DIMError(
            f"{settings.dataset} has no candidates for the split {settings.split!r}, which {in_need[0]} needs: build "
            "the dataset with `dim build`, add a config `candidates` with the columns mention_id and "
            "entity_ids, or use full_kb alone."
        )
    found = load_candidates(settings.dataset, settings.split)
    lists = CandidateLists.from_ids(found, mentions["id"][:], index)
    if "candidates_normalised" in in_need and lists.recall(table.gold, LIMIT) == 0:
        raise DIMError(f"{settings.dataset}: no gold is among its candidates, so candidates_normalised has no mention.")
    return lists


def _encoder(settings: Settings, entities: Any) -> Encoder | None:
    if settings.model is None:
        return None
    return Encoder.load(settings.model, entities, settings.batch_size, settings.progress)


def _systems(
    settings: Settings, encoder: Encoder | None, entities: Any, mentions: Any, table: Table
) -> tuple[list[System], dict[str, str]]:
    """The systems, those of the model first, and the reasons why others cannot run; nothing slow runs here."""
    made: list[System] = []
    if encoder is not None:
        answers = mentions["expert_answer"][:] if "expert_answer" in mentions.column_names else []
        present = {"sentence": True, "picture": any(table.has_picture), "expert": any(answers)}
        made += encoder.systems([name for name, given in present.items() if given])
    bar, size = settings.progress, settings.batch_size
    possible: dict[str, tuple[Callable[[], System], str]] = {
        "fuzzy": (lambda: FuzzyName(table.names, table.aliases, bar), ""),
        "bm25": (lambda: BM25(table.names, [text or "" for text in table.descriptions], bar), ""),
        "ngrams": (lambda: CharNgrams(table.names, table.aliases, bar), ""),
        "popularity": (
            lambda: Popularity(table.train_forms, table.train_gold, len(table.names), bar),
            "" if any(row >= 0 for row in table.train_gold) else "no training split with answers",
        ),
        "text": (
            lambda: ZeroShotText(str(settings.text_tower), entities, size, bar),
            "" if settings.text_tower else "no weights given (--text-tower)",
        ),
        "picture": (
            lambda: ZeroShotPicture(str(settings.towers), entities, size, bar),
            "no mention has a picture"
            if not any(table.has_picture)
            else ("" if settings.towers else "no weights given (--towers)"),
        ),
    }
    chosen = {name: possible[name] for name in settings.baselines}
    made += [make() for make, missing in chosen.values() if not missing]
    return made, {name: missing for name, (_, missing) in chosen.items() if missing}


def _protocol(name: str, dataset: str) -> dict[str, Any]:
    protocol = find_protocol(name)
    limit = {"limit": dim_limit(dataset)} if name == "candidates_dim" else {}
    return {"meaning": protocol.meaning, "ties": protocol.ties, "comparable": protocol.comparable, **limit}


def _system(outcome: Outcome, settings: Settings, slices: dict, groups: list[str], half: Tensor) -> dict[str, Any]:
    draws = (groups, settings.samples, SEED)
    first = outcome.ranks[settings.protocols[0]]
    return {
        "name": outcome.name,
        "metrics": {name: report_numbers.rank_numbers(ranks, *draws) for name, ranks in outcome.ranks.items()},
        "slices": report_numbers.slice_numbers(first, slices, *draws),
        "ranks": report_numbers.histogram(first),
        "calibration": report_numbers.calibration_numbers(outcome, half, *draws) if outcome.probabilistic else None,
        "nil": report_numbers.nil_numbers(outcome, half, *draws),
    }


def _tests(outcomes: Sequence[Outcome], settings: Settings, groups: list[str]) -> list[dict[str, Any]]:
    found = []
    for other in tqdm(outcomes[1:], desc="paired tests", disable=not settings.progress):
        for protocol in settings.protocols:
            found += report_numbers.compare(outcomes[0], other, protocol, groups, settings.samples, SEED)
    return found
