"""Compares your own system with a name matcher: metrics with intervals, and a paired test.

python examples/measure.py
"""

import torch

from dim import NameMatch, gold_ranks, load_entities, load_mentions, paired_test, ranking_metrics_with_intervals

entities = load_entities("datasets/namesakes")
mentions = load_mentions("datasets/namesakes", "test").select(range(300))
row_of = {name: row for row, name in enumerate(entities["id"])}
gold = torch.tensor([row_of[name] for name in mentions["entity_id"]])
forms = mentions["mention"][:]  # outcomes of mentions with one form are correlated: resample forms

by_name = NameMatch(entities["name"][:], entities["aliases"][:]).scores(forms)
yours = by_name + torch.rand(by_name.shape, generator=torch.Generator().manual_seed(0)) / 100  # ties broken at random

ranks = {"name match": gold_ranks(by_name, gold), "the same, ties at random": gold_ranks(yours, gold)}
for name, found in ranks.items():
    metrics = ranking_metrics_with_intervals(found, groups=forms, samples=200)
    print(name, {key: f"{one['value']:.1f} [{one['low']:.1f}, {one['high']:.1f}]" for key, one in metrics.items()})
hits = [(found == 1).double() for found in ranks.values()]
print("difference of H@1:", paired_test(hits[1], hits[0], groups=forms, samples=200))
