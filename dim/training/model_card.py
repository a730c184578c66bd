"""The model card that is written with the weights."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

_TEXT = """
# DIM, multimodal entity linking

A mention in a sentence, with a picture, goes to the entity of a knowledge base that it names. Trained by
`train.py` of dim-mel on `{dataset}`.

```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("path/to/this/folder", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("path/to/this/folder", trust_remote_code=True)
```

## Results

Validation split, every mention ranked against the whole knowledge base; a tie counts half.

| {names} |
|{rule}|
| {values} |

## Training

| argument | value |
|---|---|
{arguments}

## Limits

The numbers above choose the checkpoint, so they flatter it; report the test split. A mention is always given an
entity: this version has no threshold for mentions that have none in the knowledge base.
"""


def model_card(metrics: dict, arguments: dict) -> str:
    """Writes the card of a trained model.

    Args:
        metrics: Metrics of the validation split, in percent; `step` and `epoch` among them.
        arguments: The arguments of the run. Folders of the machine are named by their last part alone.

    Returns:
        The text of `README.md`, with its YAML head.
    """
    names = [name for name in metrics if name.startswith(("H@", "MRR"))]
    plain = {name: Path(value).name if isinstance(value, str) and "/" in value else value
             for name, value in arguments.items()}  # fmt: skip
    data = ModelCardData(
        library_name="transformers",
        license="apache-2.0",
        tags=["entity-linking", "multimodal", "dim"],
    )
    text = _TEXT.format(
        dataset=plain.get("dataset"),
        names=" | ".join(["step", *names]),
        rule="---|" * (len(names) + 1),
        values=" | ".join([str(metrics["step"]), *(f"{metrics[name]:.2f}" for name in names)]),
        arguments="\n".join(f"| `{name}` | {value} |" for name, value in plain.items()),
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{text}"))


__all__ = ["model_card"]
