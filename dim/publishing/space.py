"""Repositories that are Spaces: a demo, and a metric, which `evaluate.load` finds among the Spaces."""

from pathlib import Path

from dim.errors import DIMError
from dim.publishing.files import CARD, Publication, files_of, read_front, required
from dim.publishing.leaks import check_files

_LEFT_OUT = (".pyc", ".log", ".tmp")


def space_publication(folder: Path, target: str) -> Publication:
    r"""What is pushed for a Space: every file of a folder, hidden ones apart.

    Args:
        folder: The folder, with a README.md that says what it runs on.
        target: Name of the repository, `owner/name`.

    Returns:
        The publication, checked.

    Raises:
        DIMError: If the README.md or the app is missing, the card says nothing that a Space needs, or a file holds
            what must not be published.

    Example:

        >>> folder = Path("my_demo")
        >>> folder.mkdir()
        >>> head = "---\nsdk: gradio\napp_file: app.py\nlicense: apache-2.0\n---\n"
        >>> _ = (folder / "README.md").write_text(head), (folder / "app.py").write_text("import gradio\n")
        >>> print(space_publication(folder, "my-group/demo").listing())
        57  README.md
        14  app.py
        71  in all, for the space my-group/demo
    """
    required(folder, [CARD], "a Space needs one, with sdk and app_file in its head")
    front, _ = read_front(folder)
    missing = next((name for name in ("sdk", "app_file", "license") if not front.get(name)), None)
    if missing is not None:
        raise DIMError(f"{folder / CARD} gives no {missing}, which a Space needs in its head.")
    required(folder, [front["app_file"]], f"{CARD} names it as app_file")
    files = tuple(file for file in files_of(folder, ["**/*"]) if not file.path.endswith(_LEFT_OUT))
    check_files(files)
    return Publication("space", target, files, sdk=front["sdk"])


def metric_publication(folder: Path, target: str) -> Publication:
    r"""What is pushed for a metric.

    Args:
        folder: Its folder, such as `metrics/mel_ranking`.
        target: Name of the repository, `owner/name`; the metric's file must be called `name.py`.

    Returns:
        The publication, checked.

    Raises:
        DIMError: As [`space_publication`], or if `evaluate.load(target)` would not find the metric's file.

    Example:

        >>> folder = Path("my_metric")
        >>> folder.mkdir()
        >>> head = "---\nsdk: gradio\napp_file: app.py\nlicense: apache-2.0\n---\n"
        >>> _ = (folder / "README.md").write_text(head), (folder / "app.py").touch(), (folder / "hits.py").touch()
        >>> [file.path for file in metric_publication(folder, "my-group/hits").files]
        ['README.md', 'app.py', 'hits.py']
    """
    name = target.split("/")[-1]
    required(folder, [f"{name}.py"], f"evaluate.load({target!r}) asks for it: call the repository as the file")
    return space_publication(folder, target)


__all__ = ["metric_publication", "space_publication"]
