"""Compares two kinds of keys for the mention's attention: a modality's pooled vector, or all its tokens.

    make demo && python benchmarks/fusion.py [--epochs 10] [--seeds 3]

The towers of `demo/model` are frozen and run once. Two fusions are then trained with the same initialisation on the
same batches of the sample, and evaluated on its validation split against the whole knowledge base. The keys of one are
the pooled sentence and the pooled picture, those of the other the sentence's tokens and the cells of the feature map.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dim import (
    DIMModel,
    DIMProcessor,
    gold_ranks,
    load_candidates,
    load_dim,
    load_entities,
    load_mentions,
    load_picture,
    n_pair_loss,
    ranking_metrics,
)
from dim.layers_dim import DIMAttention

DATASET = "datasets/namesakes"
BATCH, RATE = 192, 1e-4  # as in configs/sample.yaml
MAX_TOKENS = 32


@torch.no_grad()
def encode_mentions(model: DIMModel, processor: DIMProcessor, split: str) -> dict[str, Tensor]:
    """Unit vectors of a split: mentions `(M, D)`, keys `(M, K, D)`, pooled and as tokens, and the tokens' mask."""
    rows = load_mentions(DATASET, split)
    parts: dict[str, list[Tensor]] = {name: [] for name in ("mention", "pooled", "tokens", "presence")}
    for part in rows.iter(256):
        pictures = [load_picture(picture) for picture in part["image"]]
        spans = list(zip(part["start"], part["end"], strict=True))
        batch = processor.process_mentions(part["mention"], part["sentence"], pictures, None, spans)
        text = model.text_model(batch["sentence_input_ids"], batch["sentence_attention_mask"]).last_hidden_state
        cells = model.vision_model(batch["pixel_values"]).last_hidden_state.flatten(2).transpose(1, 2)  # (B, h * w, H)
        mention = model.pool_texts(batch["mention_input_ids"], batch["mention_attention_mask"])
        sentence = model.pool_texts(batch["sentence_input_ids"], batch["sentence_attention_mask"])
        there = batch["sentence_attention_mask"].bool()
        if there.shape[1] > MAX_TOKENS:
            raise ValueError(f"A sentence has {there.shape[1]} tokens; raise MAX_TOKENS.")
        spare = MAX_TOKENS - there.shape[1]
        words = F.pad(F.normalize(model.text_projection(text), dim=-1), (0, 0, 0, spare))
        looks = F.normalize(model.visual_projection(cells), dim=-1)
        pooled = [model.text_projection(sentence), model.visual_projection(cells.mean(1))]
        parts["mention"].append(F.normalize(model.text_projection(mention), dim=-1))
        parts["pooled"].append(F.normalize(torch.stack(pooled, 1), dim=-1))
        parts["tokens"].append(torch.cat([words, looks], 1))
        parts["presence"].append(F.pad(F.pad(there, (0, spare)), (0, looks.shape[1]), value=True))
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


@torch.no_grad()
def encode_entities(model: DIMModel, processor: DIMProcessor) -> tuple[Tensor, Tensor, list[str]]:
    """Pooled texts `(E, H)` and pictures `(E, 1, H)` of the KB, and its ids; a missing picture is a zero vector."""
    rows = load_entities(DATASET)
    texts, pictures = [], []
    for part in rows.iter(256):
        images = [[load_picture(image) for image in entity] for entity in part["images"]]
        batch = processor.process_entities(part["name"], part["description"], images)
        texts.append(model.pool_texts(batch["entity_input_ids"], batch["entity_attention_mask"]))
        seen = model.pool_pictures(batch["entity_pixel_values"][:, 0])
        pictures.append(seen * batch["entity_pixel_mask"].float())
    return torch.cat(texts), torch.cat(pictures)[:, None], rows["id"][:]


def attend(layer: DIMAttention, mention: Tensor, keys: Tensor, presence: Tensor) -> Tensor:
    """The layer's context `(B, D)` of mentions `(B, D)` over any number of keys `(B, K, D)`."""
    query = layer.q_proj(mention).unflatten(-1, (layer.num_heads, -1))[:, :, None]  # (B, heads, 1, d)
    key, value = (project(keys).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
                  for project in (layer.k_proj, layer.v_proj))  # fmt: skip
    dropout = layer.dropout.p if layer.training else 0.0
    context = F.scaled_dot_product_attention(query, key, value, presence[:, None, None], dropout)
    return layer.out_proj(context.flatten(1))


def mention_vectors(model: DIMModel, data: dict[str, Tensor], kind: str, rows: Tensor) -> Tensor:
    """The mention vectors by the model's fusion, over pooled keys or over tokens."""
    presence = torch.ones(len(rows), 2, dtype=torch.bool) if kind == "pooled" else data["presence"][rows]
    mention = data["mention"][rows]
    context = attend(model.attention, mention, data[kind][rows], presence)
    return F.normalize(model.mention_projection(model.dropout(mention + context)), dim=-1)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("demo/model"), help="a trained DIM (%(default)s)")
    parser.add_argument(
        "--start", type=Path, default=Path("demo/start"), help="model with the initial fusion (%(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=10, help="epochs of training (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (%(default)s)")
    arguments = parser.parse_args()
    towers, processor = load_dim(arguments.model)
    texts, pictures, ids = encode_entities(towers, processor)
    row_of = {name: row for row, name in enumerate(ids)}
    splits = {split: encode_mentions(towers, processor, split) for split in ("train", "validation")}
    answers = {split: load_mentions(DATASET, split)["entity_id"][:] for split in splits}
    gold = {split: torch.tensor([row_of[name] for name in names]) for split, names in answers.items()}
    senses = load_candidates(DATASET, "train")
    pools = [[row_of[name] for name in senses.get(mention, ())] for mention in load_mentions(DATASET, "train")["id"]]

    print(f"{'keys':<10}{'validation H@1':>16}{'MRR':>8}{'seconds':>10}   (H@1, lowest - highest seed)")
    for kind in ("pooled", "tokens"):
        found, seconds = [], []
        for seed in range(arguments.seeds):
            torch.manual_seed(seed)
            model = DIMModel.from_pretrained(arguments.start, fusion="attention")  # entities with pictures in one block
            model.text_projection.load_state_dict(towers.text_projection.state_dict())
            model.visual_projection.load_state_dict(towers.visual_projection.state_dict())
            head = [model.attention, model.mention_projection, model.entity_projection, model.entity_picture_projection]
            optimizer = torch.optim.AdamW([p for part in (*head, model.logit_scale) for p in part.parameters()], RATE)
            began = time.perf_counter()
            model.train()
            for _ in range(arguments.epochs):
                for rows in torch.randperm(len(gold["train"])).split(BATCH):
                    extra = [entity for row in rows.tolist() for entity in pools[row]]
                    pool = torch.unique(torch.cat([gold["train"][rows], torch.tensor(extra, dtype=torch.long)]))
                    entities = model.get_entity_features(entity_pooled=texts[pool], entity_image_pooled=pictures[pool])
                    logits = model.score(mention_vectors(model, splits["train"], kind, rows), entities)
                    loss = n_pair_loss(logits, torch.searchsorted(pool, gold["train"][rows]))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            seconds.append(time.perf_counter() - began)
            model.eval()
            with torch.no_grad():
                entities = model.get_entity_features(entity_pooled=texts, entity_image_pooled=pictures)
                everyone = torch.arange(len(gold["validation"]))
                scores = mention_vectors(model, splits["validation"], kind, everyone) @ entities.T
            found.append(ranking_metrics(gold_ranks(scores, gold["validation"])))
        hits = [metrics["H@1"] for metrics in found]
        mrr = statistics.mean(metrics["MRR"] for metrics in found)
        print(f"{kind:<10}{statistics.mean(hits):>16.1f}{mrr:>8.1f}{statistics.mean(seconds):>10.1f}   "
              f"({min(hits):.1f} - {max(hits):.1f})")  # fmt: skip


if __name__ == "__main__":
    main()
