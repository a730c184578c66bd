"""The contract of the layout: `dim/` is the package, and its Hub files are what travels with the weights.

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
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dim"
HUB_LIBRARIES = {"torch", "transformers", "huggingface_hub", "numpy", "PIL"}
LEXICAL_LIBRARIES = {"rapidfuzz", "regex", "scipy"}  # of the processor, which makes the lexical features
HUB_FILES = sorted(path.name for path in PACKAGE.glob("*_dim.py"))
LINKS = ("configuration_dim.py", "modeling_dim.py", "processing_dim.py")


def repository_files() -> list[str]:
    """Paths of the files that are in git or would be added to it, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file())


def run(*arguments: str, cwd: Path = ROOT) -> str:
    """Run a fresh interpreter and return what it printed; what it wrote to stderr is the failure's message."""
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        pytest.fail(result.stderr[-3000:])
    return result.stdout


FILES = repository_files()
PACKAGE_FILES = [name for name in FILES if re.fullmatch(r"dim/.*\.py", name)]


def source(name: str) -> str:
    """Text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------- one package


def test_package_is_the_folder_dim():
    import dim

    assert Path(dim.__file__).resolve() == PACKAGE / "__init__.py"


def test_root_shows_the_hub_files_that_users_look_for():
    """A symbolic link, or the text that git writes in its place where the file system has none."""
    for name in LINKS:
        shown = ROOT / name
        assert shown.resolve() == PACKAGE / name or shown.read_text(encoding="utf-8") == f"dim/{name}"


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


@pytest.mark.slow
def test_pyright_finds_every_module_in_a_clone_of_any_name(tmp_path):
    """What an editor sees: pyright, with this environment, in a clone that is not called `dim`."""
    clone = tmp_path / "some-other-name"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "dim", "train.py"]
    found = json.loads(subprocess.run(command, cwd=clone, capture_output=True, text=True).stdout)
    assert found["summary"]["filesAnalyzed"] > 150
    assert [one["message"] for one in found["generalDiagnostics"] if '"dim' in one["message"]] == []


# ------------------------------------------------------------------------------------------------------- the Hub files


def test_there_are_hub_files():
    assert {"configuration_dim.py", "modeling_dim.py", "processing_dim.py"} <= set(HUB_FILES)


def test_hub_files_import_only_what_every_user_has():
    """Anywhere in the file: `trust_remote_code` asks for the libraries that are imported within functions, too."""
    found = []
    for name in HUB_FILES:
        for node in ast.walk(ast.parse(source(f"dim/{name}"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                if node.level != 1 or f"{node.module}.py" not in HUB_FILES:
                    found.append(f"{name}:{node.lineno} imports from no Hub file")
                continue
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            allowed = HUB_LIBRARIES | LEXICAL_LIBRARIES | set(sys.stdlib_module_names)
            found += [f"{name}:{node.lineno} imports {m}" for m in modules if m.split(".")[0] not in allowed]
    assert found == []


def hub_closure(name: str) -> set[str]:
    """A Hub file and those that it imports, directly or not."""
    nodes = ast.walk(ast.parse(source(f"dim/{name}")))
    below = {f"{node.module}.py" for node in nodes if isinstance(node, ast.ImportFrom) and node.level}
    return {name}.union(*map(hub_closure, below))


def test_the_model_alone_needs_no_library_of_the_lexical_features():
    for name in sorted(hub_closure("modeling_dim.py")):
        nodes = list(ast.walk(ast.parse(source(f"dim/{name}"))))
        modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
        assert not {module.split(".")[0] for module in modules} & LEXICAL_LIBRARIES, name


def test_hub_files_have_no_import_in_their_docstrings():
    """transformers finds relative imports by a regular expression that reads docstrings like code."""
    for name in HUB_FILES:
        text = source(f"dim/{name}")
        found = set(re.findall(r"^\s*(?:from|import)\s+\.(\S+)", text, flags=re.MULTILINE))
        real = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level}
        assert found == real, name


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
        "text": ["Ada wrote it.", "They met in Paris."],
        "names": ["Ada Lovelace", "Paris"],
        "descriptions": ["mathematician", "capital of France"],
    }
    with torch.no_grad():
        logits = model(**processor(**inputs, images=pictures, entity_images=[[p] for p in pictures])).logits
    (folder / "expected.json").write_text(json.dumps({"inputs": inputs, "logits": logits.tolist()}), encoding="utf-8")
    return folder


def test_export_holds_the_hub_files_unchanged(exported):
    for name in ("configuration_dim.py", "modeling_dim.py", "processing_dim.py"):
        assert (exported / name).read_bytes() == (PACKAGE / name).read_bytes()
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


def is_asset(name: str) -> bool:
    """Whether a file of the root travels in the wheel: what the commands read, but for the sample."""
    if name.startswith("datasets/namesakes/"):
        return False
    patterns = (
        r"configs/.*\.yaml",
        r"datasets/\w+/README\.md",
        r"datasets/\w+/script/.*\.py",
        r"metrics/.*",
        r"space/.*",
    )
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def test_wheel_equals_the_tree(wheel):
    """Every file of the package travels, and what its commands read; nothing else does."""
    expected = {name for name in FILES if name.startswith("dim/")}
    expected |= {f"dim/assets/{name}" for name in FILES if is_asset(name)}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split(".dist-info/")[1]: name for name in archive.namelist() if ".dist-info/" in name}
        assert {"licenses/LICENSE", "licenses/NOTICE"} <= set(names)
        assert "dim = dim.cli.main:main" in archive.read(names["entry_points.txt"]).decode()
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
    extras = ["", *(metadata.metadata("dim-mel").get_all("Provides-Extra") or [])]
    for line in metadata.requires("dim-mel") or []:
        requirement = Requirement(line)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue  # for another version of Python
        pin = pins[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{pin} does not satisfy {requirement}"


def test_the_hashed_requirements_are_the_constraints():
    pins: dict[str, set[str]] = {}
    for line in constraint_lines():
        pins.setdefault(canonicalize_name(Requirement(line).name), set()).add(str(Requirement(line).specifier))
    text = (ROOT / "requirements-hashes.txt").read_text(encoding="utf-8")
    assert "://" not in text
    hashed: dict[str, str] = {}
    for entry in re.sub(r"\\\n\s+", " ", text).splitlines():
        line, *hashes = entry.split(" --hash=sha256:")
        if not line.startswith("#"):
            assert hashes, line
            assert all(re.fullmatch("[0-9a-f]{64}", one.strip()) for one in hashes)
            hashed[canonicalize_name(Requirement(line).name)] = str(Requirement(line).specifier)
    by_torch = re.compile("cuda-|nvidia-|triton|audioop-lts|httpx2-jsfetch")  # the last two: for other systems
    others = [name for name, pin in hashed.items() if pin not in pins.get(name, ())]
    assert [name for name in others if not by_torch.match(name)] == []
    required = (Requirement(line) for line in metadata.requires("dim-mel") or [])
    newest = {canonicalize_name(one.name) for one in required if one.marker is None or "3.10" not in str(one.marker)}
    assert newest - hashed.keys() == set()


# ------------------------------------------------------------------------------------------------------- readable files


def test_files_are_readable_in_one_sitting():
    limits = {name: 500 if name.removeprefix("dim/") in HUB_FILES else 300 for name in PACKAGE_FILES}
    long = {name: len(source(name).splitlines()) for name in PACKAGE_FILES}
    assert {name: lines for name, lines in long.items() if lines > limits[name]} == {}


def test_files_compile():
    """Also what no test imports, such as benchmarks; ruff and mypy let some errors of the compiler pass."""
    for name in FILES:
        if name.endswith(".py") and name not in LINKS:
            compile(source(name), name, "exec")


def test_files_have_no_construct_that_hides_errors_or_runs_data():
    """Pickles run code, a bare except hides what went wrong, and an assert on input is gone under `python -O`."""
    found = []
    for name in PACKAGE_FILES:
        for node in ast.walk(ast.parse(source(name))):
            if isinstance(node, ast.Assert):
                found.append((name, node.lineno, "assert"))
            elif isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append((name, node.lineno, "bare except"))
            elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
                found.append((name, node.lineno, "torch.load"))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                found += [(name, node.lineno, m) for m in modules if m.split(".")[0] in {"pickle", "dill"}]
    assert found == []


def test_one_module_opens_pictures_and_one_more_asks_pillow_alone():
    """So that formats, limits and metadata are the same everywhere."""
    openers = {
        name
        for name in FILES
        if re.fullmatch(r"(dim|space|examples)/.*\.py", name)
        for node in ast.walk(ast.parse(source(name)))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("Image.open", "PIL.Image.open")
    }
    assert openers == {"dim/pictures_dim.py", "dim/common/pictures.py"}


def test_modules_import():
    for name in PACKAGE_FILES:
        if not name.endswith("__main__.py"):
            importlib.import_module(name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
