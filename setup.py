"""Copies what the commands read from the root (cards, scripts, configs, the Space, the metric) into the wheel.

Everything else about the distribution is in pyproject.toml.
"""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

ASSETS = ("configs/*.yaml", "datasets/*/README.md", "datasets/*/script/*.py", "metrics/**/*", "space/**/*")
SAMPLE = "datasets/namesakes/"  # stays in the repository: it is passed to the commands by its path


class BuildPackage(build_py):
    """Builds the package with `dim/assets`, a copy of the files that `ASSETS` names."""

    def run(self):
        super().run()
        if self.editable_mode:  # the files are read where they are
            return
        for pattern in ASSETS:
            for path in sorted(Path().glob(pattern)):
                if path.is_file() and "__pycache__" not in path.parts and not path.as_posix().startswith(SAMPLE):
                    target = Path(self.build_lib, "dim", "assets", path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    copyfile(path, target)


setup(cmdclass={"build_py": BuildPackage})
