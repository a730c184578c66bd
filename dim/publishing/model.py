"""Publication of a model: weights, processor, the code for `trust_remote_code`, the card, and results."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dim.common.cards import card_text
from dim.common.checksums import CHECKSUMS, checksums, verify_checksums
from dim.errors import DIMError
from dim.linking.reranker import FOLDER as RERANKER
from dim.publishing.files import CARD, Publication, RepoFile, files_of, read_card_of, required
from dim.publishing.leaks import check_files
from dim.publishing.licences import spdx
from dim.publishing.other_libraries import library_files
from dim.publishing.results import FILES as RESULTS
from dim.publishing.results import read_report, result_files, results_section

FILES = ("config.json", "*.safetensors", "model.safetensors.index.json", "*_dim.py", "processor_config.json",
         "tokenizer*.json", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model", "calibration.json",
         f"{RERANKER}/*.json", f"{RERANKER}/*.safetensors", f"{RERANKER}/*.txt", "LICENSE*", "NOTICE*")  # fmt: skip
REPLACES = ("*.safetensors", "model.safetensors.index.json", "*_dim.py", RESULTS)
_NEEDED = ("config.json", "processor_config.json", "tokenizer_config.json", CARD)
_PLACEHOLDER = "path/to/this/folder"  # in the card of `dim train`


def model_publication(
    folder: Path, target: str, results: Sequence[Path] = (), licence: str | None = None, dataset: str | None = None
) -> Publication:
    """Collects and checks the files of a model.

    Args:
        folder: A folder from `dim train` or `save_pretrained`, with a card.
        target: Name of the repository, `owner/name`.
        results: `report.json` files of `dim eval` for this model.
        licence: Licence of the weights, an identifier of the Hub; by default, that of the card.
        dataset: Hub name of the dataset of `results`, if `dim eval` read it from a folder.

    Returns:
        The publication.

    Raises:
        DIMError: If a file is missing, the folder has no DIM, the card has no licence, a report is of another model or
            lacks a field, or a file contains an access token or a local path.

    Example:

        >>> publication = model_publication(Path("demo/model"), "my-group/dim-namesakes", licence="apache-2.0")
        >>> sorted(file.path for file in publication.files if file.path.startswith(("config.", "model", "modules")))
        ['config.json', 'model.safetensors', 'modeling_dim.py', 'modules.json']
        >>> publication.notes[-1]
        'no results: run dim eval, then pass --results report.json'
    """
    files, notes = model_files(folder)
    added, more = card_and_results(*read_card_of(folder), target, folder, results, licence, dataset)
    files = (*files, *added)
    check_files(files)
    return Publication("model", target, files, REPLACES, notes=(*notes, *more))


def model_files(folder: Path) -> tuple[tuple[RepoFile, ...], tuple[str, ...]]:
    """Collects the files of a model, except for its card.

    Args:
        folder: As for [`model_publication`].

    Returns:
        The files, and notes to the user.

    Raises:
        DIMError: If a file is missing, or the folder has no DIM.
    """
    verify_checksums(folder)
    required(folder, _NEEDED, "save the model and its processor there, with a README.md (as dim train does)")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "dim":
        raise DIMError(f"{folder} contains a model of type {config.get('model_type')!r}, not a DIM.")
    files = [file for file in files_of(folder, FILES) if Path(file.path).name != CHECKSUMS]
    names = {file.path for file in files}
    if not any(name.endswith(".safetensors") and "/" not in name for name in names):
        raise DIMError(f"{folder} has no weights as safetensors; save the model there again.")
    for name in ("config.json", "processor_config.json"):
        auto = json.loads((folder / name).read_text(encoding="utf-8")).get("auto_map", {})
        modules = {f"{value.split('.')[0]}.py" for value in auto.values()}
        if not auto or modules - names:
            raise DIMError(
                f"{folder / name} refers to {', '.join(sorted(modules - names)) or 'no code'}, so it cannot be loaded: "
                "save the model and its processor there again."
            )
    stale = [name for name in sorted(names) if name.endswith("_dim.py") and _differs(folder / name)]
    notes = [f"{', '.join(stale)} differ from the installed dim: the versions in the folder are pushed"]
    made = library_files(folder, config)
    files = [*(file for file in files if file.path not in {one.path for one in made}), *made]
    sums = checksums((file.path, file.content) for file in files)
    files.append(RepoFile(CHECKSUMS, json.dumps(sums, indent=2).encode()))
    return tuple(files), tuple(notes if stale else ())


def _differs(path: Path) -> bool:
    installed = Path(__file__).parents[1] / path.name
    return not installed.is_file() or installed.read_bytes() != path.read_bytes()


def card_and_results(
    metadata: dict[str, Any],
    text: str,
    target: str,
    folder: Path,
    results: Sequence[Path],
    licence: str | None = None,
    dataset: str | None = None,
) -> tuple[tuple[RepoFile, ...], tuple[str, ...]]:
    """Adds the repository's name, the results and the licence to a card, and makes the files of results.

    Args:
        metadata: Metadata of the folder's card.
        text: Its text.
        target: Name of the repository.
        folder: The model's folder.
        results: `report.json` files of `dim eval` for this model.
        licence: Licence of the weights; by default, that of the card.
        dataset: As for [`model_publication`].

    Returns:
        The files of results and, as the last one, the card; and notes to the user.

    Raises:
        DIMError: If the card has no licence, or a report is invalid or of another model.
    """
    if licence is not None:
        metadata = {**metadata, "license": _identifier(licence)}
    if metadata.get("license", "unknown") == "unknown":
        raise DIMError(
            f"{folder / CARD} has no licence: give one by --license, which those of the model's towers and of its "
            "training data permit."
        )
    reports = [read_report(path, folder) for path in results]
    files, notes = result_files(reports, dataset)
    if not reports:
        notes = ("no results: run dim eval, then pass --results report.json",)
    text = f"{text.replace(_PLACEHOLDER, target).rstrip()}\n{results_section(reports, dataset)}"
    return (*files, RepoFile(CARD, card_text(metadata, text).encode())), notes


def _identifier(licence: str) -> str:
    made = spdx(licence)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", made) or made == "unknown":
        raise DIMError(f"--license {licence!r} is not a licence: give an identifier of the Hub, such as cc-by-4.0.")
    return made
