"""Files of the distribution outside the package: dataset cards and scripts, configs, the Space, the metric."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def asset(name: str) -> Path:
    """Returns the path of a file or folder of the distribution, in an installed wheel or in a clone.

    Args:
        name: Path in the repository, such as `configs/sample.yaml` or `datasets/wikimel`.

    Returns:
        The path in the wheel, or the path in the clone if the wheel has no such file.
    """
    installed = PACKAGE / "assets" / name
    return installed if installed.exists() else PACKAGE.parent / name
