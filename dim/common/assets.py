"""Files that the commands read and that are no code: dataset cards and scripts, configs, the Space, the metric."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def asset(name: str) -> Path:
    """Path of a file or folder of the distribution, in an installed wheel and in a clone alike.

    Args:
        name: Its path in the repository, such as `configs/sample.yaml` or `datasets/wikimel`.

    Returns:
        Where it is; the path in the clone if there is none.
    """
    installed = PACKAGE / "assets" / name
    return installed if installed.exists() else PACKAGE.parent / name


__all__ = ["asset"]
