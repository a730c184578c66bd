"""Files of the distribution outside the package: dataset cards and scripts, configs, the Space, the metric."""

from pathlib import Path

from dim.common.parser import did_you_mean
from dim.errors import DIMError

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


def config_file(name: str) -> Path:
    """Path of a YAML file, or of a config of the distribution by its name.

    Args:
        name: A path, or a name such as `sample` for `configs/sample.yaml`.

    Returns:
        The file.

    Raises:
        DIMError: If there is neither.
    """
    path = Path(name) if Path(name).is_file() else asset(f"configs/{name}.yaml")
    if not path.is_file():
        shipped = [file.stem for file in asset("configs").glob("*.yaml")]
        raise DIMError(f"There is no config file {name}{did_you_mean(name, shipped) or '.'}")
    return path
