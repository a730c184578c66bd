"""The model card of a trained model."""

from collections.abc import Sequence
from pathlib import Path

from dim.common.cards import card_text

_METADATA = {
    "library_name": "transformers",
    "tags": ["entity-linking", "multimodal", "dim"],
}
_TEXT = """
# DIM, multimodal entity linking

Links a mention in a sentence, with a picture, to an entity of a knowledge base. Trained by `train.py` of dim-mel on
`{dataset}`.

```python
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
scores = model(**inputs).logits  # (mentions, entities)
```

## Results

Validation split, every mention ranked against the whole knowledge base; a tie counts half.

{results}

## Which code gives what

{code}

## Training

{arguments}

## Limits

The checkpoint was chosen by the results above, so they are optimistic: report the test split. The model gives every
mention an entity: it has no threshold for mentions whose entity is not in the knowledge base.
"""

_PROCESSOR = (
    """`AutoProcessor` needs more than transformers: `pip install rapidfuzz regex scipy`. `AutoModel` does not."""
)
_WITH_PRIOR = """
- The code above gives the scores of the results: of the vectors and of the lexical prior, which compares names and
  descriptions. The processor makes its features where it gets mentions and entities in one call. To encode a knowledge
  base once, give `model.score` the features of `processor.lexical_features`.
- `DIMLinker` of dim-mel gives the same scores to the candidates that it finds, up to 64, and adds confidence and NIL.
- Vectors alone, as in a search for nearest neighbours or in `model.score` without features (it warns once), give
  {alone}.
"""
_WITHOUT_PRIOR = """
- The code above gives the scores of the results. The model has no lexical prior: its vectors alone decide, so a search
  for nearest neighbours gives the same ranking.
- `DIMLinker` of dim-mel gives the same scores to the candidates that it finds, up to 64, and adds confidence and NIL.
"""


def model_card(metrics: dict, arguments: dict) -> str:
    """Writes the card of a trained model.

    Args:
        metrics: Metrics of the validation split, in percent, with `step` and `epoch`; for a model with a lexical prior
            also those of its vectors alone (`vectors H@1` ...).
        arguments: The arguments of the run. Paths are shortened to their last part.

    Returns:
        The text of `README.md`, with its YAML metadata, but without a licence: that of the weights depends on those of
        the towers and of the training data, so `dim push` asks for it.

    Example:

        >>> card = model_card({"step": 40, "H@1": 61.5}, {"dataset": "data/wikimel", "seed": 0})
        >>> print(*[line for line in card.splitlines() if line.startswith("|")], sep="\\n")
        | step | H@1 |
        | --- | --- |
        | 40 | 61.50 |
        | argument | value |
        | --- | --- |
        | `dataset` | wikimel |
        | `seed` | 0 |
    """
    names = [name for name in metrics if name.startswith(("H@", "MRR"))]
    alone = ", ".join(f"{name} {metrics[f'vectors {name}']:.2f} instead of {metrics[name]:.2f}"
                      for name in names if f"vectors {name}" in metrics)  # fmt: skip
    code = _WITH_PRIOR.format(alone=alone) if alone else _WITHOUT_PRIOR
    plain = {name: Path(value).name if isinstance(value, str) and "/" in value else value
             for name, value in arguments.items()}  # fmt: skip
    text = _TEXT.format(
        dataset=plain.get("dataset"),
        results=_table(["step", *names], [[metrics["step"], *(f"{metrics[name]:.2f}" for name in names)]]),
        code=f"{_PROCESSOR}\n{code.rstrip()}",
        arguments=_table(["argument", "value"], [[f"`{name}`", value] for name, value in plain.items()]),
    )
    return card_text(_METADATA, text)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; a bar in a cell is escaped, since it would begin another cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
