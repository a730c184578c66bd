"""The model card of a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from dim.common.cards import card_text, read_card
from dim.common.hub import is_hub_name
from dim.errors import DIMError

_TAGS = ["entity-linking", "multimodal", "dim"]
_NAMES = ("dataset", "model_name_or_path", "text_tower", "vision_tower")  # arguments that name a folder or a repository
_TEXT = """
# DIM, multimodal entity linking

Links a mention in a sentence, with a picture, to an entity of a knowledge base, after *DIM: Dynamic Integration of
Multimodal Entity Linking with Large Language Model* ([arXiv 2407.12019](https://arxiv.org/abs/2407.12019)). Trained by
`train.py` of dim-mel on `{dataset}`.

## How to use

```python
import torch
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("path/to/this/folder", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("path/to/this/folder", trust_remote_code=True)
inputs = processor(
    mentions=["Turkey"],
    text=["Turkey was everywhere that autumn."],
    names=["Turkey", "turkey"],
    descriptions=["country around Ankara", "large bird"],
    aliases=[["Türkiye"], []],
)
with torch.no_grad():
    scores = model(**inputs).logits  # (mentions, entities)
print(scores.argmax(-1))  # the best entity of each mention
```

`AutoProcessor` needs more than transformers: `pip install rapidfuzz regex scipy`. `AutoModel` does not. Pictures are
PIL images: `images` has one for each mention or `None`, `entity_images` a list for each entity.

## Results

Validation split, every mention ranked against the whole knowledge base; a tie counts half.

{results}

## Which code gives what
{code}
## Training

{arguments}

## Limits

The checkpoint was chosen by the results above, so they are optimistic: report the test split. The model itself gives
every mention an entity. `dim calibrate` fits probabilities and a threshold below which a mention is NIL (its entity is
not in the knowledge base): a `calibration.json` beside the weights, which `DIMLinker` applies. It holds for data like
those it was fitted on. What the training data lack (other languages, kinds of entities or pictures) was not measured.
"""

_WITH_PRIOR = """
- The code above gives the scores of the results: of the vectors and of the lexical prior, which compares names and
  descriptions. The processor makes its features where it gets mentions and entities in one call. To encode a knowledge
  base once, give `model.score` the features of `processor.lexical_features`.
- `DIMLinker` of dim-mel gives the same scores to the candidates that it finds, up to 64, and adds confidence and,
  with a calibration, NIL.
- Vectors alone, as in a search for nearest neighbours or in `model.score` without features (it warns once), give
  {alone}.
"""
_WITHOUT_PRIOR = """
- The code above gives the scores of the results. The model has no lexical prior: its vectors alone decide, so a search
  for nearest neighbours gives the same ranking.
- `DIMLinker` of dim-mel gives the same scores to the candidates that it finds, up to 64, and adds confidence and,
  with a calibration, NIL.
"""


def model_card(metrics: dict, arguments: dict) -> str:
    """Writes the card of a trained model.

    Args:
        metrics: Metrics of the validation split, in percent, with `step` and `epoch`; for a model with a lexical prior
            also those of its vectors alone (`vectors H@1` ...).
        arguments: The arguments of the run. Paths are shortened to their last part.

    Returns:
        The text of `README.md`, with its YAML metadata: the dataset and the towers if they are on the Hub, and the
        language that the dataset's card names. It has no licence: that of the weights depends on those of the towers
        and of the training data, so `dim push` asks for it.

    Example:

        >>> run = {"dataset": "datasets/namesakes", "text_tower": "google/siglip2-base-patch16-224", "seed": 0}
        >>> card = model_card({"step": 40, "H@1": 61.5}, run)
        >>> print(*[line for line in card.splitlines() if line.startswith("|")], sep="\\n")
        | step | H@1 |
        | --- | --- |
        | 40 | 61.50 |
        | argument | value |
        | --- | --- |
        | `dataset` | namesakes |
        | `text_tower` | google/siglip2-base-patch16-224 |
        | `seed` | 0 |
        >>> metadata, _ = read_card(card)
        >>> metadata["language"], metadata["base_model"], "datasets" in metadata
        (['en'], ['google/siglip2-base-patch16-224'], False)
    """
    names = [name for name in metrics if name.startswith(("H@", "MRR"))]
    alone = ", ".join(f"{name} {metrics[f'vectors {name}']:.2f} instead of {metrics[name]:.2f}"
                      for name in names if f"vectors {name}" in metrics)  # fmt: skip
    plain = {name: _plain(name, value) for name, value in arguments.items()}
    text = _TEXT.format(
        dataset=plain.get("dataset"),
        results=_table(["step", *names], [[metrics["step"], *(f"{metrics[name]:.2f}" for name in names)]]),
        code=_WITH_PRIOR.format(alone=alone) if alone else _WITHOUT_PRIOR,
        arguments=_table(["argument", "value"], [[f"`{name}`", value] for name, value in plain.items()]),
    )
    return card_text(_metadata(arguments), text)


def _metadata(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the Hub lists a model by; a field without a known value is left out."""
    dataset = arguments.get("dataset")
    names = _NAMES[1:]
    base = [one for name in names if arguments.get(name) for one in _repositories(str(arguments[name]))]
    language = _card_of(dataset, "dataset").get("language") if dataset else None
    fields = {
        "language": [language] if isinstance(language, str) else language,
        "library_name": "transformers",
        "pipeline_tag": "text-ranking",  # it ranks entities; as `feature-extraction` the Hub would offer a pipeline
        "tags": _TAGS,
        "datasets": [dataset] if dataset and is_hub_name(dataset) else None,
        "base_model": list(dict.fromkeys(base)),
        "base_model_relation": "finetune" if base else None,  # two towers would count as a merge
    }
    return {name: value for name, value in fields.items() if value}


def _repositories(name: str) -> list[str]:
    """The Hub name of a model, or those in the card of a folder: a DIM that is trained further names its towers."""
    if is_hub_name(name):
        return [name]
    found = _card_of(name, "model").get("base_model") or []
    return [found] if isinstance(found, str) else found


def _card_of(name: str, kind: str) -> dict[str, Any]:
    """Metadata of the card of a folder or, as far as it was downloaded, of a repository; empty without a card."""
    path = try_to_load_from_cache(name, "README.md", repo_type=kind) if is_hub_name(name) else Path(name, "README.md")
    if not isinstance(path, str | Path) or not Path(path).is_file():
        return {}
    try:
        return read_card(Path(path).read_text(encoding="utf-8", errors="replace"))[0]
    except DIMError:  # a model of others, whose card has no metadata
        return {}


def _plain(name: str, value: object) -> object:
    """A value for the table of arguments: a path of this machine is shortened to its last part."""
    if isinstance(value, str) and "/" in value and not (name in _NAMES and is_hub_name(value)):
        return Path(value).name
    return value


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; a bar in a cell is escaped, since it would begin another cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
