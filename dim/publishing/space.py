"""Publication of Spaces: demos, and metrics for `evaluate.load`, which are Spaces, too."""

from pathlib import Path

from dim.common.assets import asset
from dim.errors import DIMError
from dim.publishing.files import CARD, Publication, files_of, read_card_of, required
from dim.publishing.leaks import check_files

_LEFT_OUT = (".pyc", ".log", ".tmp")


def space_publication(folder: Path, target: str) -> Publication:
    r"""Collects and checks the files of a Space: all of a folder except for hidden ones.

    Args:
        folder: The folder, with a README.md whose metadata have `sdk`, `app_file` and `license`. `space` is the
            demo of this package.
        target: Name of the repository, `owner/name`.

    Returns:
        The publication.

    Raises:
        DIMError: If the README.md, a field of its metadata or the app is missing, or a file contains an access token
            or a local path.

    Example:

        >>> folder = Path("my_demo")
        >>> folder.mkdir()
        >>> head = "---\nsdk: gradio\napp_file: app.py\nlicense: apache-2.0\n---\n"
        >>> _ = (folder / "README.md").write_text(head), (folder / "app.py").write_text("import gradio\n")
        >>> print(space_publication(folder, "my-group/demo").listing())
        57  README.md
        14  app.py
        71  total for the space my-group/demo
    """
    folder = _shipped(folder)
    required(folder, [CARD], "a Space needs one, with sdk and app_file in its metadata")
    metadata, _ = read_card_of(folder)
    missing = next((name for name in ("sdk", "app_file", "license") if not metadata.get(name)), None)
    if missing is not None:
        raise DIMError(f"{folder / CARD} has no {missing}, which a Space needs in its metadata.")
    required(folder, [metadata["app_file"]], f"it is the app_file in {CARD}")
    files = tuple(file for file in files_of(folder, ["**/*"]) if not file.path.endswith(_LEFT_OUT))
    check_files(files)
    return Publication("space", target, files, sdk=metadata["sdk"])


def metric_publication(folder: Path, target: str) -> Publication:
    r"""Collects and checks the files of a metric.

    Args:
        folder: The folder. `metrics/mel_ranking` is the metric of this package.
        target: Name of the repository, `owner/name`; the metric's file must be `name.py`.

    Returns:
        The publication.

    Raises:
        DIMError: As for [`space_publication`]; also if `evaluate.load(target)` would not find the metric's file.

    Example:

        >>> folder = Path("my_metric")
        >>> folder.mkdir()
        >>> head = "---\nsdk: gradio\napp_file: app.py\nlicense: apache-2.0\n---\n"
        >>> _ = (folder / "README.md").write_text(head), (folder / "app.py").touch(), (folder / "hits.py").touch()
        >>> [file.path for file in metric_publication(folder, "my-group/hits").files]
        ['README.md', 'app.py', 'hits.py']
    """
    name = target.split("/")[-1]
    required(_shipped(folder), [f"{name}.py"], f"evaluate.load({target!r}) needs it: name the repository as the file")
    return space_publication(folder, target)


def _shipped(folder: Path) -> Path:
    """Returns a folder, or if there is none the one of that name in the distribution."""
    shipped = asset(folder.as_posix())
    return shipped if shipped.is_dir() and not folder.is_dir() else folder
