"""Trains DIM on the sample dataset, ranks its test split, links a few mentions, and writes a report.

    python examples/demo.py --out demo

All output goes to `--out`: `model` (with pictures), `model_text` (the same without), `kb`, `metrics.json`,
`report.html` and `report.png`.
"""

import argparse
import json
import time
from pathlib import Path

import datasets
import report
import torch
from torch import Tensor
from towers import build

from dim import (
    DIMLinker,
    KnowledgeBase,
    NameMatch,
    encode_entities,
    encode_mentions,
    gold_ranks,
    load_candidates,
    load_dim,
    load_entities,
    load_mentions,
    ranking_metrics_with_intervals,
)
from dim.cli.train import main as train
from dim.encoding.mention import mentions_of
from dim.encoding.prior_features import lexical_features
from dim.encoding.scoring import score_blocks

DATASET = "datasets/namesakes"
CONFIG = "configs/sample.yaml"
HELD_OUT_STYLE = "twemoji"  # the drawing style that is only in the test split
SYSTEMS = {
    "name_match": "name match alone",
    "dim_text": "DIM without pictures",
    "dim": "DIM with pictures",
    "dim_blind": "the same DIM, picture removed",
}
SHOWN = ("Swiss", "Kiwi", "Pandas", "Orange")  # forms of the test split that are shown first
EXAMPLE = ("Turkey", "was everywhere that autumn.")  # a form of the training split, in a sentence that is in no split


class System:
    """A trained model with encoded entities.

    Args:
        folder: The model.
        entities: The sample's knowledge base.
        vectors: Their vectors `(E, D)`; encoded here by default.
    """

    def __init__(self, folder: Path, entities: datasets.Dataset, vectors: Tensor | None = None):
        self.model, self.processor = load_dim(folder)
        self.names = lexical_features(entities)
        self.vectors = (
            encode_entities(self.model, self.processor, entities, batch_size=128) if vectors is None else vectors
        )

    def scores(self, mentions: list | datasets.Dataset) -> Tensor:
        """Scores of mentions against the whole KB, `(M, E)`."""
        texts = mentions_of(mentions)
        queries = encode_mentions(self.model, self.processor, mentions, batch_size=128)
        return torch.cat([found for _, found in score_blocks(self.model, queries, self.vectors, self.names, texts)])


def measure(scores: dict[str, Tensor], gold: Tensor, senses: list[list[int]], columns: dict) -> dict:
    """H@1 and MRR with 95 % intervals (surface forms drawn anew) of each system on each part of the test split."""
    namesake = torch.tensor([topic == "namesake" for topic in columns["topic"]])
    neutral = torch.tensor([kind == "neutral" for kind in columns["sentence_kind"]])
    held_out = torch.tensor([style == HELD_OUT_STYLE for style in columns["image_style"]])
    parts = {
        "namesakes/test": namesake,
        "namesakes/test/neutral": namesake & neutral,
        "namesakes/test/hint": namesake & ~neutral,
        "namesakes/test/known_styles": namesake & ~held_out,
        "namesakes/test/new_style": namesake & held_out,
        "namesakes/test/background": ~namesake,
    }
    among = torch.ones(next(iter(scores.values())).shape, dtype=torch.bool)  # True where an entity is no sense
    for row, entities in enumerate(senses):
        among[row, entities] = False
    metrics: dict = {}
    for part, rows in parts.items():
        if not rows.any():
            continue
        groups = [mention for mention, inside in zip(columns["mention"], rows.tolist(), strict=True) if inside]
        metrics[part] = {
            name: summary(gold_ranks(matrix[rows], gold[rows]), groups) | {"mentions": int(rows.sum())}
            for name, matrix in scores.items()
        }
        if part != "namesakes/test/background":
            metrics[f"{part}/senses"] = {
                name: summary(gold_ranks(matrix.masked_fill(among, -1e9)[rows], gold[rows]), groups)
                for name, matrix in scores.items()
            }
    return metrics


def summary(ranks: Tensor, groups: list[str]) -> dict:
    """The two numbers of the table with their intervals, in percent."""
    found = ranking_metrics_with_intervals(ranks, groups=groups)
    return {
        key: value
        for name in ("H@1", "MRR")
        for key, value in (
            (name, round(found[name]["value"], 2)),
            (f"{name} 95%", [round(found[name]["low"], 2), round(found[name]["high"], 2)]),
        )
    }


def table(metrics: dict, part: str) -> str:
    """A part's numbers as a table for the terminal."""
    lines = [f"{'':<34}{'H@1':>8}  {'95 %':<14}{'MRR':>8}  {'95 %':<14}"]
    for name, title in SYSTEMS.items():
        row = metrics[part][name]
        cells = [f"{row[key]:>8.1f}  {'{:.1f} - {:.1f}'.format(*row[key + ' 95%']):<14}" for key in ("H@1", "MRR")]
        lines.append(f"{title:<34}{''.join(cells)}")
    return "\n".join(lines)


def choose(mentions: datasets.Dataset) -> list[dict]:
    """Returns test mentions to show: two senses of each of five surface forms, in uninformative sentences."""
    forms: dict[str, dict[str, int]] = {}
    for row, mention in enumerate(mentions.remove_columns("image")):
        if mention["sentence_kind"] == "neutral" and mention["topic"] == "namesake":
            forms.setdefault(mention["mention"], {}).setdefault(mention["entity_id"], row)
    order = sorted(forms, key=lambda form: (SHOWN.index(form) if form in SHOWN else len(SHOWN), form))
    return [mentions[row] for form in order[:5] for row in list(forms[form].values())[:2]]


def examples(dataset: str) -> list[dict]:
    """Returns the README's mention with a picture of each sense; training has its form, but not its sentence."""
    mentions = load_mentions(dataset, "train")
    rows: dict[str, int] = {}
    for row, mention in enumerate(mentions.select_columns(["mention", "entity_id"])):
        if mention["mention"] == EXAMPLE[0]:
            rows.setdefault(mention["entity_id"], row)
    fields = {"sentence": " ".join(EXAMPLE), "start": 0, "end": len(EXAMPLE[0])}
    return [mentions[row] | fields for row in rows.values()]


def expected_at_random(scores: Tensor, gold: Tensor) -> float:
    """Returns the expected H@1 in percent if ties at the top are broken at random."""
    golds = scores.gather(1, gold[:, None])
    better, same = (scores > golds).sum(1), (scores == golds).sum(1)
    return 100 * ((better == 0) / same).mean().item()


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the results (%(default)s)")
    parser.add_argument("--max_steps", type=int, help="stop both trainings early, to try the demo itself")
    arguments = parser.parse_args()
    out, began = arguments.out, time.monotonic()
    early = [] if arguments.max_steps is None else ["--max_steps", str(arguments.max_steps)]
    for name, pictures in (("", True), ("_text", False)):
        print(f"\n== training DIM {'with' if pictures else 'without'} pictures", flush=True)
        build(out / f"start{name}", pictures)
        where = ["--model_name_or_path", str(out / f"start{name}"), "--output_dir", str(out / f"model{name}")]
        where += ["--overwrite", "true"]
        if train([CONFIG, *where, *early]):
            raise SystemExit(1)

    print("\n== ranking the test split against the whole knowledge base", flush=True)
    entities, mentions = load_entities(DATASET), load_mentions(DATASET, "test")
    row_of = {name: row for row, name in enumerate(entities["id"][:])}
    gold = torch.tensor([row_of[name] for name in mentions["entity_id"]])
    candidates = load_candidates(DATASET, "test")
    senses = [[row_of[name] for name in candidates.get(mention, [])] or [row_of[entity]]
              for mention, entity in zip(mentions["id"], mentions["entity_id"], strict=True)]  # fmt: skip
    blind = [row | {"image": None} for row in mentions.remove_columns("image")]
    kb = KnowledgeBase.create(out / "kb", DATASET, overwrite=True)
    kb.encode(*load_dim(out / "model"), batch_size=128)
    order = [kb.row_of[name] for name in entities["id"]]
    pictures = System(out / "model", entities, kb.vectors(order))
    scores = {
        "name_match": NameMatch(entities["name"][:], entities["aliases"][:]).scores(mentions["mention"][:]),
        "dim_text": System(out / "model_text", entities).scores(mentions),
        "dim": pictures.scores(mentions),
        "dim_blind": pictures.scores(blind),
    }
    columns = {name: mentions[name][:] for name in ("topic", "sentence_kind", "image_style", "mention")}
    metrics = measure(scores, gold, senses, columns)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for part, title in (
        ("namesakes/test", "all sentences"),
        ("namesakes/test/neutral", "uninformative sentences"),
        ("namesakes/test/new_style", f"pictures in a style not seen in training ({HELD_OUT_STYLE})"),
    ):
        print(f"\n{title}: {metrics[part]['dim']['mentions']} mentions, {len(entities)} entities\n")
        print(table(metrics, part))
    print("\namong the senses of the surface form, all sentences\n")
    print(table(metrics, "namesakes/test/senses"))

    inside = torch.tensor([topic == "namesake" for topic in columns["topic"]])
    random = expected_at_random(scores["name_match"][inside], gold[inside])
    print(f"\nName match ties the senses of a form, and a tie is not a hit at 1; at random, {random:.1f} are expected.")

    ours = examples(DATASET)
    shown = ours + choose(mentions)
    links = DIMLinker.from_pretrained(out / "model", kb.uri).link(shown, k=3)
    print(f"\n== links (the form {EXAMPLE[0]} was seen in training, the others were not)\n")
    print(f"       {'sentence':<48}{'picture of':<22}linked to")
    for mention, found in zip(shown, links, strict=True):
        mark = "right" if found[0].id == mention["entity_id"] else "WRONG"
        truth = entities[row_of[mention["entity_id"]]]
        print(f"{mark}  {mention['sentence']:<48}{truth['name']:<22}{found[0].name}: {found[0].description}")
    rows = report.rows(shown, links, entities, row_of)
    report.write_html(out / "report.html", metrics, SYSTEMS, rows)
    report.write_png(out / "report.png", metrics, SYSTEMS, rows)
    report.write_example(out / "example.png", ours[0])
    print(f"\n{out / 'metrics.json'}, {out / 'report.html'} and {out / 'report.png'} are written "
          f"({time.monotonic() - began:.0f} s)")  # fmt: skip


if __name__ == "__main__":
    main()
