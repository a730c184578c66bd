"""Your own knowledge base: creates it, encodes it, edits it while a linker uses it, and exports it.

make demo && python examples/own_kb.py
"""

import tempfile
from pathlib import Path

from dim import DIMLinker, KnowledgeBase, load_dim

ENTITIES = [
    {"id": "k1", "name": "Python", "description": "programming language"},
    {"id": "k2", "name": "python", "aliases": ["constrictor"], "description": "large snake without venom"},
]

folder = Path(tempfile.mkdtemp())
kb = KnowledgeBase.create(folder / "kb", ENTITIES)
kb.encode(*load_dim("demo/model"))
linker = DIMLinker.from_pretrained("demo/model", kb=folder / "kb")
print([entity.description for entity in linker("[[Python]] is easy to learn.")])

# The next query uses the new entity, which is encoded when it becomes a candidate.
linker.kb.upsert([{"id": "k3", "name": "Monty Python", "description": "British comedians"}])
print([entity.description for entity in linker("[[Python]] is easy to learn.")])

# Each change creates a version.
print([version["version"] for version in linker.kb.versions()])
linker.kb.delete(["k3"])
linker.kb.export(folder / "kb.parquet")
print(KnowledgeBase.open(folder / "kb").info()["entities"], "entities")
