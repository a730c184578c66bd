"""Adds files outside `dim/` to the wheel: dataset cards and scripts, configs, the Space and the metric.

Everything else about the distribution is in pyproject.toml.
"""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

ASSETS = ("configs/*.yaml", "datasets/*/README.md", "datasets/*/script/*.py", "metrics/**/*", "space/**/*")
SAMPLE = "datasets/namesakes/"  # only in the repository, as users pass its path


class BuildPackage(build_py):
    """Builds the package with a copy of `ASSETS` in `dim/assets`, where `dim.common.assets.asset` finds them."""

    def run(self):
        super().run()
        if self.editable_mode:  # `asset` finds the files in the clone
            return
        for pattern in ASSETS:
            for path in sorted(Path().glob(pattern)):
                if path.is_file() and "__pycache__" not in path.parts and not path.as_posix().startswith(SAMPLE):
                    target = Path(self.build_lib, "dim", "assets", path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    copyfile(path, target)


setup(cmdclass={"build_py": BuildPackage})
