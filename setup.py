"""Map the repository root to the package ``dim``; everything else about the distribution stands in pyproject.toml."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# A "room" is any folder with an __init__.py: linking/ is dim.linking, and so on. tests/, datasets/ have none.
ROOMS = [f"dim.{name}" for name in find_packages(".")]


class BuildPackage(build_py):
    """Collect the package's modules, without this script, which lies in the same folder."""

    def find_package_modules(self, package, package_dir):
        """Return ``(package, module, file)`` of every module of ``package``.

        Args:
            package (`str`): dotted name of the package.
            package_dir (`str`): the folder that holds it.

        Returns:
            `list[tuple[str, str, str]]`: the modules that travel in the wheel.
        """
        modules = super().find_package_modules(package, package_dir)
        return [entry for entry in modules if entry[:2] != ("dim", "setup")]


setup(
    packages=["dim", *ROOMS],
    package_dir={"dim": "."},
    # The root's own text files (constraints.txt, ...) are no package data; what lies beside a room's modules is.
    package_data={"dim": ["py.typed"], **{room: ["*.html", "*.css", "*.txt", "prompts/*.txt"] for room in ROOMS}},
    include_package_data=False,
    cmdclass={"build_py": BuildPackage},
)
