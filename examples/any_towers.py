"""Builds a DIM on any encoders and scores entities before training, which works if the towers share a space.

    python examples/any_towers.py

Downloads CLIP (600 MB).
"""

import torch
from PIL import Image

from dim import DIMModel, DIMProcessor

TOWERS = "openai/clip-vit-base-patch32"

model = DIMModel.from_towers(TOWERS).eval()
processor = DIMProcessor.from_towers(TOWERS)
inputs = processor(
    mentions=["Turkey", "Turkey"],
    text=["Turkey was everywhere that autumn.", "Turkey was everywhere that autumn."],
    images=[Image.new("RGB", (224, 224), "red"), None],
    names=["Turkey", "turkey"],
    descriptions=["country around Ankara", "large bird"],
)
with torch.no_grad():
    outputs = model(**inputs)
print(outputs.logits)  # (mentions, entities)
print(outputs.modality_attentions.mean(1))  # weight of sentence and picture in each mention's vector
