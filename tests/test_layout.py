"""The contract of the layout: the repository's root is the package `dim` and, at once, a model repository of the Hub.

CONTRIBUTING.md says why each of these rules is there.
"""

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
HUB_LIBRARIES = {"torch", "transformers", "huggingface_hub", "numpy", "PIL"}
HUB_FILES = sorted(path.name for path in ROOT.glob("*_dim.py"))


def repository_files() -> list[str]:
    """Paths of the files that are in git or would be added to it, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file())


def rooms(files: list[str]) -> set[str]:
    """Names of the folders that are subpackages."""
    return {name.split("/")[0] for name in files if re.fullmatch(r"[^/]+/__init__\.py", name)}


def package_files(files: list[str]) -> list[str]:
    """Paths of the package's own Python files."""
    inside = rooms(files)
    return [
        name
        for name in files
        if name.endswith(".py") and name != "setup.py" and ("/" not in name or name.split("/")[0] in inside)
    ]


def run(*arguments: str, cwd: Path = ROOT) -> str:
    """Run a fresh interpreter and return what it printed; what it wrote to stderr is the failure's message."""
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        pytest.fail(result.stderr[-3000:])
    return result.stdout


FILES = repository_files()
PACKAGE_FILES = package_files(FILES)


# ---------------------------------------------------------------------------------------------------------- one package


def test_root_is_imported_once_and_as_dim():
    import dim

    assert Path(dim.__file__).resolve() == ROOT / "__init__.py"
    same = [name for name, module in sys.modules.items() if getattr(module, "__file__", None) == dim.__file__]
    assert same == ["dim"]


def test_root_refuses_another_name():
    code = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("checkout", "__init__.py", submodule_search_locations=["."])
module = sys.modules["checkout"] = importlib.util.module_from_spec(spec)
try:
    spec.loader.exec_module(module)
except ImportError as error:
    print(error)
"""
    printed = run("-c", code)
    assert "checkout" in printed
    assert "import dim" in printed


def test_tests_is_no_package():
    assert "tests/__init__.py" not in FILES


def test_no_root_name_shadows_a_library():
    """The folder of a script, and the root under `python -m`, is first on `sys.path`."""
    pinned = {Requirement(line).name for line in constraint_lines()}
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    libraries = {
        module
        for module, distributions in metadata.packages_distributions().items()
        if any(re.sub(r"[-_.]+", "-", name).lower() in normal for name in distributions)
    }
    assert {"torch", "transformers", "datasets", "evaluate"} <= libraries
    taken = set(sys.stdlib_module_names) | libraries - {"build"}  # a tool, which no library imports
    python_files = [name for name in FILES if name.endswith(".py")]
    in_root = {name.split("/")[0].removesuffix(".py") for name in python_files}
    assert in_root & taken <= {"datasets"}
    scripts = [name for name in python_files if name not in PACKAGE_FILES]
    assert [name for name in scripts if Path(name).stem in taken] == []


def test_datasets_folder_does_not_hide_the_library():
    """A folder without __init__.py loses against a real package, wherever it stands on `sys.path`."""
    assert not [name for name in FILES if re.fullmatch(r"datasets/(.*/)?__init__\.py", name)]
    code = """
import sys
assert sys.path[0] == "", sys.path[0]
import datasets, evaluate
print(datasets.load_dataset.__module__, evaluate.load.__module__, datasets.__file__, sep="\\n")
"""
    dataset, metric, file = run("-c", code).splitlines()
    assert dataset.startswith("datasets.")
    assert metric.startswith("evaluate.")
    assert ROOT / "datasets" not in Path(file).resolve().parents


# ------------------------------------------------------------------------------------------------------- the Hub files


def test_there_are_hub_files():
    assert {"configuration_dim.py", "modeling_dim.py", "processing_dim.py"} <= set(HUB_FILES)


@pytest.mark.parametrize("name", HUB_FILES)
def test_hub_file_imports_only_what_every_user_has(name):
    """Anywhere in the file: `trust_remote_code` asks for the libraries that are imported within functions, too."""
    source = (ROOT / name).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{name}:{node.lineno} leaves the folder"
            assert f"{node.module}.py" in HUB_FILES, f"{name}:{node.lineno} imports from no Hub file"
            continue
        else:
            continue
        for module in modules:
            library = module.split(".")[0]
            assert library in HUB_LIBRARIES | set(sys.stdlib_module_names), f"{name}:{node.lineno} imports {module}"


@pytest.mark.parametrize("name", HUB_FILES)
def test_hub_file_has_no_import_in_its_docstrings(name):
    """transformers finds relative imports by a regular expression that reads docstrings like code."""
    source = (ROOT / name).read_text(encoding="utf-8")
    found = set(re.findall(r"^\s*(?:from|import)\s+\.(\S+)", source, flags=re.MULTILINE))
    real = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level}
    assert found == real


@pytest.fixture(scope="module")
def exported(tiny_clip_dir, tmp_path_factory) -> Path:
    """A folder as `push_to_hub` would upload it, with the inputs and outputs of the model that was saved."""
    import torch
    from PIL import Image

    from dim import DIMModel, DIMProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exported")
    model = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4)
    for parameter in model.parameters():  # so that a weight which is not loaded shows
        torch.nn.init.normal_(parameter, std=0.1)
    processor = DIMProcessor.from_towers(str(tiny_clip_dir))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    pictures = [Image.new("RGB", (40, 30), color) for color in ("red", "navy")]
    inputs = {
        "mentions": ["Ada", "Paris"],
        "sentences": ["Ada wrote it.", "They met in Paris."],
        "names": ["Ada Lovelace", "Paris"],
        "descriptions": ["mathematician", "capital of France"],
    }
    with torch.no_grad():
        logits = model(**processor(**inputs, images=pictures, entity_images=[[p] for p in pictures])).logits
    (folder / "expected.json").write_text(json.dumps({"inputs": inputs, "logits": logits.tolist()}), encoding="utf-8")
    return folder


def test_export_holds_the_hub_files_unchanged(exported):
    for name in ("configuration_dim.py", "modeling_dim.py", "processing_dim.py"):
        assert (exported / name).read_bytes() == (ROOT / name).read_bytes()
    assert {path.name for path in exported.glob("*.py")} <= set(HUB_FILES)


def test_export_names_no_folder_of_this_machine(exported, tiny_clip_dir):
    for path in exported.glob("*.json"):
        assert str(tiny_clip_dir) not in path.read_text(encoding="utf-8"), path.name


def test_export_works_where_the_package_is_not_installed(exported, tmp_path):
    """The same numbers from the copied files alone; saving again copies them again."""
    code = """
import importlib.abc, json, sys
from pathlib import Path

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "dim" or name.startswith("dim."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import dim
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("dim can be imported, so this shows nothing")

import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoProcessor

folder, copy = Path(sys.argv[1]), Path(sys.argv[2])
expected = json.loads((folder / "expected.json").read_text())
pictures = [Image.new("RGB", (40, 30), color) for color in ("red", "navy")]
for source in (folder, copy):
    config = AutoConfig.from_pretrained(source, trust_remote_code=True)
    model = AutoModel.from_pretrained(source, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(source, trust_remote_code=True)
    for thing in (config, model, processor):
        assert type(thing).__module__.startswith("transformers_modules."), type(thing)
    batch = processor(**expected["inputs"], images=pictures, entity_images=[[p] for p in pictures])
    with torch.no_grad():
        logits = model(**batch).logits
    torch.testing.assert_close(logits, torch.tensor(expected["logits"]), rtol=0, atol=1e-6)
    if source == folder:
        model.save_pretrained(copy)
        processor.save_pretrained(copy)
print("equal")
"""
    assert run("-c", code, str(exported), str(tmp_path / "copy"), cwd=tmp_path) == "equal\n"


def test_export_needs_no_trust_where_the_package_is_installed(exported):
    from transformers import AutoConfig, AutoModel, AutoProcessor

    import dim

    assert type(AutoConfig.from_pretrained(exported)) is dim.DIMConfig
    assert type(AutoModel.from_pretrained(exported)) is dim.DIMModel
    assert type(AutoProcessor.from_pretrained(exported)) is dim.DIMProcessor


# ------------------------------------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what is in the repository, so that no earlier build can leak into it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FILES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    run("-m", "pip", "wheel", *options, str(source), cwd=target)
    (built,) = target.glob("*.whl")
    assert built.name.startswith("dim_mel-")
    return built


def test_wheel_equals_the_tree(wheel):
    """Every file of the package travels, Markdown apart, and nothing else does."""
    inside = rooms(FILES)
    expected = {f"dim/{name}" for name in PACKAGE_FILES} | {"dim/py.typed"}
    expected |= {f"dim/{name}" for name in FILES if name.split("/")[0] in inside and not name.endswith(".md")}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split(".dist-info/")[1]: name for name in archive.namelist() if ".dist-info/" in name}
        assert {"licenses/LICENSE", "licenses/NOTICE"} <= set(names)
        assert "dim = dim.cli:main" in archive.read(names["entry_points.txt"]).decode()
        text = archive.read(names["METADATA"]).decode()
    assert "Name: dim-mel\n" in text
    assert "Description-Content-Type: text/markdown\n" in text
    assert not re.search(r"^Requires-Dist: .*(torchvision|minilm)", text, flags=re.MULTILINE)


def test_version_is_the_same_everywhere():
    import dim

    assert metadata.version("dim-mel") == dim.__version__


def test_console_script():
    (script,) = metadata.entry_points(group="console_scripts", name="dim")
    assert callable(script.load())
    command = [str(Path(sys.executable).with_name("dim")), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    assert "usage: dim" in result.stdout


def constraint_lines() -> list[str]:
    """The pins of constraints.txt, without comments."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_pin_every_dependency_exactly():
    pins: dict[str, Requirement] = {}
    for line in constraint_lines():
        pin = Requirement(line)
        (specifier,) = pin.specifier
        assert specifier.operator == "==", line
        assert "+" not in specifier.version, line
        assert pin.url is None, line
        if pin.marker is None or pin.marker.evaluate():
            key = re.sub(r"[-_.]+", "-", pin.name).lower()
            assert key not in pins, f"{line}: pinned twice"
            pins[key] = pin
    assert "torchvision" not in pins
    for line in metadata.requires("dim-mel") or []:
        requirement = Requirement(line)
        pin = pins[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{pin} does not satisfy {requirement}"


# ------------------------------------------------------------------------------------------------------- readable files


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_file_is_readable_in_one_sitting(name):
    limit = 500 if name in HUB_FILES else 300
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    assert lines <= limit, f"{name} has {lines} lines, more than {limit}: split it"


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py")])
def test_file_compiles(name):
    """Also what no test imports, such as benchmarks; ruff and mypy let some errors of the compiler pass."""
    compile((ROOT / name).read_text(encoding="utf-8"), name, "exec")


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_file_has_no_construct_that_hides_errors_or_runs_data(name):
    """Pickles run code, a bare except hides what went wrong, and an assert on input is gone under `python -O`."""
    found = []
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assert):
            found.append((node.lineno, "assert"))
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append((node.lineno, "bare except"))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.append((node.lineno, "torch.load"))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            found += [(node.lineno, module) for module in modules if module.split(".")[0] in {"pickle", "dill"}]
    assert found == []


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_module_imports(name):
    module = "dim." + name.removesuffix(".py").replace("/", ".")
    importlib.import_module(module.removesuffix(".__init__"))
