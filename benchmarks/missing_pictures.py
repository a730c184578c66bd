"""What happens to a trained DIM when entities of the sample lose their pictures, or are added without one.

    make demo && python benchmarks/missing_pictures.py [MODEL ...]

Pictures are taken from a random share of the knowledge base, and the test split is ranked against all of it. Then
entities are added by name and description alone, with names that contain the surface forms of others. Several models,
such as those of several seeds, are averaged.
"""

import argparse
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from dim import encode_entities, encode_mentions, load_dim, load_entities, load_mentions
from dim.encoding.mention import mentions_of
from dim.encoding.prior_features import lexical_features
from dim.encoding.scoring import score_blocks
from dim.modeling_dim import DIMModel

DATASET = "datasets/namesakes"
SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
DRAWS = 5  # of the entities that lose their pictures
ADDED, CHECKED = 50, 500
KINDS = {"Trot": "running race held every autumn", "Street": "street in the old town", "Records": "record label",
         "Festival": "music festival by the sea", "Hotel": "hotel near the station"}  # fmt: skip


class Sample:
    """The sample's test split and knowledge base, encoded by one model with and without the pictures of entities."""

    def __init__(self, folder: Path):
        self.model, self.processor = load_dim(folder)
        self.entities, mentions = load_entities(DATASET), load_mentions(DATASET, "test")
        row_of = {name: row for row, name in enumerate(self.entities["id"][:])}
        self.gold = torch.tensor([row_of[name] for name in mentions["entity_id"]])
        self.namesakes = torch.tensor([topic == "namesake" for topic in mentions["topic"]])
        self.texts, self.features = mentions_of(mentions), lexical_features(self.entities)
        blind = [row | {"image": None} for row in mentions.remove_columns("image")]
        self.queries = {"with its picture": self.encode(mentions), "text only": self.encode(blind)}
        bare = [row | {"images": []} for row in self.entities.remove_columns("images")]
        self.whole, self.bare = (encode_entities(self.model, self.processor, rows) for rows in (self.entities, bare))

    def encode(self, rows: object) -> Tensor:
        """Vectors of mentions."""
        return encode_mentions(self.model, self.processor, rows, batch_size=128)

    def scores(self, queries: Tensor, vectors: Tensor) -> Tensor:
        """Scores of the test mentions with every entity."""
        found = score_blocks(self.model, queries, vectors, self.features, self.texts)
        return torch.cat([block for _, block in found])

    def without(self, share: float, queries: Tensor, seed: int) -> tuple[float, float, float]:
        """H@1 of golds that keep their picture, H@1 of all, and answers without picture beyond the share of golds."""
        gone = torch.rand(len(self.whole), generator=torch.Generator().manual_seed(seed)) < share
        scores = self.scores(queries, torch.where(gone[:, None], self.bare, self.whole))
        golds = scores.gather(1, self.gold[:, None])
        hits = (scores >= golds).sum(1) == 1  # a tie is no hit
        kept = self.namesakes & ~gone[self.gold]
        surplus = gone[scores.argmax(1)].float() - gone[self.gold].float()
        hit, all_hits, lead = hits[kept].float(), hits[self.namesakes].float(), surplus[self.namesakes]
        return tuple(100 * values.mean().item() if len(values) else torch.nan for values in (hit, all_hits, lead))


def added(sample: Sample) -> tuple[int, int, int]:
    """How many mentions that were right an addition takes, how many were checked, and how many additions are found."""
    forms = sorted({text.text for text, inside in zip(sample.texts, sample.namesakes, strict=True) if inside})
    names = [f"{form} {kind}" for form in forms for kind in KINDS][:: max(1, len(forms) * len(KINDS) // ADDED)][:ADDED]
    new = [{"id": f"new{row}", "name": name, "description": KINDS[name.rsplit(" ", 1)[1]], "images": [], "aliases": []}
           for row, name in enumerate(names)]  # fmt: skip
    rows = [row | {"aliases": row.get("aliases") or []} for row in sample.entities.remove_columns("images")]
    table = {key: [row[key] for row in rows + new] for key in ("name", "aliases", "description")}
    vectors = torch.cat([sample.whole, encode_entities(sample.model, sample.processor, new)])
    features, pictured = lexical_features(pa.table(table)), sample.queries["with its picture"]

    def answers(model: DIMModel, queries: Tensor, texts: list) -> Tensor:
        blocks = score_blocks(model, queries, vectors, features, texts)
        return torch.cat([block for _, block in blocks]).argmax(1)

    right = (sample.scores(pictured, sample.whole).argmax(1) == sample.gold).nonzero().flatten()[:CHECKED]
    taken = answers(sample.model, pictured, sample.texts)[right] != sample.gold[right]
    asked = [{"mention": name, "sentence": f"They told us about the {name}.", "start": 23, "end": 23 + len(name)}
             for name in names]  # fmt: skip
    own = answers(sample.model, sample.encode(asked), mentions_of(asked))
    return int(taken.sum()), len(right), int((own == len(sample.whole) + torch.arange(len(names))).sum())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, default=[Path("demo/model")], help="default: demo/model")
    samples = [Sample(folder) for folder in parser.parse_args().models]
    print(f"{len(samples)} models, {int(samples[0].namesakes.sum())} test mentions, {len(samples[0].whole)} entities\n")
    print("| share without picture | mention | H@1, golds that keep theirs | H@1, all | answers without, over golds |")
    print("|--:|---|--:|--:|--:|")
    for share in SHARES:
        for kind in samples[0].queries:
            draws = range(DRAWS if 0 < share < 1 else 1)
            found = [sample.without(share, sample.queries[kind], seed) for sample in samples for seed in draws]
            kept, every, lead = torch.tensor(found).mean(0).tolist()
            shown = "" if share == 1 else f"{kept:.1f} "  # no gold keeps its picture
            print(f"| {100 * share:.0f} % | {kind} | {shown}| {every:.1f} | {lead:+.1f} |")
    for sample in samples:
        taken, checked, own = added(sample)
        print(f"\n{ADDED} entities added without pictures: {taken} of {checked} right answers taken, {own} found")


if __name__ == "__main__":
    main()
