"""What a published model has for other libraries: for sentence-transformers, and for `pipeline` of transformers."""

import ast
import json
from pathlib import Path
from typing import Any

from dim.publishing.files import RepoFile

_PACKAGE = Path(__file__).parents[1]  # where the Hub files are
_CODE = ("pipeline_dim", "sentence_transformers_dim")
_PIPELINES = {"multimodal-entity-linking": {"impl": "pipeline_dim.DIMPipeline", "pt": ["AutoModel"]}}
_MODULES = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers_dim.DIMSentenceEncoder"}]
_SETTINGS = {
    "model_type": "SentenceTransformer",
    "prompts": {"query": "", "document": ""},
    "default_prompt_name": None,
    "similarity_fn_name": "dot",  # of `DIMModel.score`; with pictures, vectors have no unit length
    "requirements": {"sentence-transformers": ">=5.4"},
}


def library_files(folder: Path, config: dict[str, Any]) -> list[RepoFile]:
    """Makes the files of a model for other libraries.

    Args:
        folder: The model.
        config: Its configuration.

    Returns:
        `config.json` with the pipeline, `modules.json` and `config_sentence_transformers.json`, and of the Hub files
        that they need those that are not in the folder.

    Example:

        >>> config = {"model_type": "dim"}
        >>> [file.path for file in library_files(Path("demo/model"), config) if file.path.endswith(".json")]
        ['config.json', 'modules.json', 'config_sentence_transformers.json']
    """
    made = {
        "config.json": {**config, "custom_pipelines": _PIPELINES},
        "modules.json": _MODULES,
        "config_sentence_transformers.json": _SETTINGS,
    }
    files = [RepoFile(name, json.dumps(content, indent=2, sort_keys=True).encode()) for name, content in made.items()]
    code = sorted({name for module in _CODE for name in _imported(module) if not (folder / name).exists()})
    return [*files, *(RepoFile(name, _PACKAGE / name) for name in code)]


def _imported(module: str) -> set[str]:
    """A Hub file and those that it imports, directly or not."""
    name = f"{module}.py"
    nodes = ast.walk(ast.parse((_PACKAGE / name).read_text(encoding="utf-8")))
    below = (node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level and node.module)
    return {name}.union(*map(_imported, below))
