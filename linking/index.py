"""The knowledge base as the linker needs it: names, descriptions and vectors, searched exactly."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dim.linking.encoding import encode_entities
from dim.linking.lexical import LexicalFeatures, name_features
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor

_MANIFEST = "index.json"
_COLUMNS = ("id", "name", "description")


def fingerprint(model: DIMModel, processor: DIMProcessor) -> str:
    """Tells two encoders apart: a hash of config, processor and weights.

    Args:
        model: A DIM.
        processor: Its processor.

    Returns:
        32 hexadecimal digits, the same wherever the same model lies.
    """
    config = {key: value for key, value in model.config.to_dict().items() if not key.startswith(("_", "transformers"))}
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    settings = [processor.max_length, processor.padding, processor.mention_marks, processor.entity_template]
    digest.update(json.dumps(settings).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class EntityIndex:
    """Encoded entities, ranked by exact dot products in float32.

    Args:
        entities: Columns `id`, `name`, `aliases` and `description`, one row an entity.
        vectors: Their vectors `(E, D)`.
        encoder: Fingerprint of the model that made the vectors.

    Raises:
        ValueError: If there is no entity, an id occurs twice, or vectors and entities differ in number.
    """

    def __init__(self, entities: pa.Table, vectors: Tensor, encoder: str):
        if len(entities) == 0:
            raise ValueError("The knowledge base is empty; it needs at least one entity.")
        if len(entities) != len(vectors):
            raise ValueError(f"There are {len(entities)} entities, but {len(vectors)} vectors.")
        ids = entities["id"].to_pylist()
        if len(set(ids)) != len(ids):
            raise ValueError("An entity id occurs twice in the knowledge base; ids must be unique.")
        self.entities, self.vectors, self.encoder = entities, vectors.float(), encoder
        self.row_of = {name: row for row, name in enumerate(ids)}

    @cached_property
    def names(self) -> LexicalFeatures:
        """Lexical features over the entities' names."""
        return name_features(self.entities)

    def __len__(self) -> int:
        return len(self.entities)

    @classmethod
    def build(
        cls, model: DIMModel, processor: DIMProcessor, entities: Sequence[dict], **encoding: object
    ) -> "EntityIndex":
        """Encodes entities.

        Args:
            model: A DIM.
            processor: Its processor.
            entities: Rows with `id`, `name`, `description`, and where there are any `aliases` and `images`.
            **encoding: `batch_size`, `num_workers`, `progress` of `encode_entities`.

        Returns:
            The index.

        Raises:
            ValueError: If there is no entity, a row lacks a field, or an id occurs twice.
        """
        if len(entities) == 0:
            raise ValueError("The knowledge base is empty; it needs at least one entity.")
        columns: dict[str, list] = {}
        for name in _COLUMNS:
            if isinstance(entities, list):
                missing = next((row for row, entity in enumerate(entities) if name not in entity), None)
                if missing is not None:
                    raise ValueError(f"Entity {missing} has no {name!r}.")
                columns[name] = [entity[name] for entity in entities]
            else:
                columns[name] = entities[name][:]  # type: ignore[call-overload]
        if isinstance(entities, list):
            columns["aliases"] = [list(entity.get("aliases") or ()) for entity in entities]
        else:
            there = "aliases" in entities.column_names  # type: ignore[attr-defined]
            columns["aliases"] = entities["aliases"][:] if there else [[]] * len(entities)  # type: ignore[call-overload]
        vectors = encode_entities(model, processor, entities, **encoding)  # type: ignore[arg-type]
        schema = pa.schema({**dict.fromkeys(_COLUMNS, pa.string()), "aliases": pa.list_(pa.string())})
        return cls(pa.table(columns, schema), vectors, fingerprint(model, processor))

    def save(self, folder: str | Path) -> None:
        """Writes the index to a folder, all or nothing: beside it first, then renamed.

        Args:
            folder: Where to; an index that is there is replaced.

        Raises:
            ValueError: If the folder holds something else than an index.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / _MANIFEST).is_file():
            raise ValueError(f"{folder} exists and is no index; choose another folder.")
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        pq.write_table(self.entities, temporary / "entities.parquet")
        save_file({"vectors": self.vectors.contiguous()}, temporary / "vectors.safetensors")
        manifest = {"entities": len(self), "width": self.vectors.shape[1], "encoder": self.encoder}
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "EntityIndex":
        """Reads an index that `save` wrote.

        Args:
            folder: Where it lies.

        Returns:
            The index.

        Raises:
            ValueError: If the folder holds no whole index.
        """
        folder = Path(folder)
        if not (folder / _MANIFEST).is_file():
            raise ValueError(f"{folder} is no knowledge base: it has no {_MANIFEST}. `dim kb create` makes one.")
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        vectors = load_file(folder / "vectors.safetensors")["vectors"]
        return cls(pq.read_table(folder / "entities.parquet"), vectors, manifest["encoder"])


__all__ = ["EntityIndex", "fingerprint"]
