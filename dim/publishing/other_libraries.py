"""Files by which other libraries load a published model: sentence-transformers."""

import ast
import json
from pathlib import Path

from dim.publishing.files import RepoFile

_PACKAGE = Path(__file__).parents[1]  # where the Hub files are
_MODULE = "sentence_transformers_dim"
_MODULES = [{"idx": 0, "name": "0", "path": "", "type": f"{_MODULE}.DIMSentenceEncoder"}]
_SETTINGS = {
    "model_type": "SentenceTransformer",
    "prompts": {"query": "", "document": ""},
    "default_prompt_name": None,
    "similarity_fn_name": "dot",  # of `DIMModel.score`; with pictures, vectors have no unit length
    "requirements": {"sentence-transformers": ">=5.4"},
}


def library_files(folder: Path) -> list[RepoFile]:
    """Makes the files that a model's folder lacks for other libraries.

    Args:
        folder: The model.

    Returns:
        `modules.json` and `config_sentence_transformers.json`, and of the Hub files that they need those that are not
        in the folder.

    Example:

        >>> [file.path for file in library_files(Path("demo/model"))][:3]
        ['modules.json', 'config_sentence_transformers.json', 'inputs_dim.py']
    """
    made = {"modules.json": _MODULES, "config_sentence_transformers.json": _SETTINGS}
    files = [RepoFile(name, json.dumps(content, indent=2).encode()) for name, content in made.items()]
    code = (name for name in sorted(_imported(_MODULE)) if not (folder / name).exists())
    return [*files, *(RepoFile(name, _PACKAGE / name) for name in code)]


def _imported(module: str) -> set[str]:
    """A Hub file and those that it imports, directly or not."""
    name = f"{module}.py"
    nodes = ast.walk(ast.parse((_PACKAGE / name).read_text(encoding="utf-8")))
    below = (node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level and node.module)
    return {name}.union(*map(_imported, below))
