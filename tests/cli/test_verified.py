"""Every command that reads a model or a dataset compares it with its checksums."""

import json
import shutil

import pytest
import yaml

from dim.cli.main import COMMANDS, main
from dim.common.checksums import write_checksums
from dim.common.files import sha256_of
from dim.encoding.loading import load_dim
from dim.kb.store import KnowledgeBase

# {data} and {model} are damaged, {good_data} and {good_model} are not.
SERVER = "--base-url http://127.0.0.1:9/v1"
TRAINING = "--report_to none --max_steps 1 --output_dir {here}/run"
READS = {
    "inspect": ["{data}"],
    "enhance": [f"{{data}} --llm m {SERVER} --out {{here}}/new.jsonl"],
    "caption": [f"{{data}} --expert openai --vlm m {SERVER} --cache {{here}}/cache --out {{here}}/out"],
    "train": [f"--model_name_or_path {{model}} --dataset {{good_data}} {TRAINING}",
              f"--model_name_or_path {{good_model}} --dataset {{data}} {TRAINING}"],
    "train-reranker": ["--model {model} --kb {kb} --dataset {good_data}",
                       "--model {good_model} --kb {kb} --dataset {data}"],
    "kb create": ["{here}/kb --from {data}", "{here}/kb --from {good_data} --model {model}"],
    "kb add": ["{kb} --from {data}", "{kb} --from {good_data} --model {model}"],
    "kb encode": ["{kb} --model {model}"],
    "kb refresh": [f"{{kb}} --ids e0 --llm m {SERVER} --model {{model}}"],
    "link": ["--model {model} --kb {kb} --sentence [[gem]]"],
    "calibrate": ["--model {model} --kb {kb} --dataset {good_data}", "--model {good_model} --kb {kb} --dataset {data}"],
    "eval": ["--dataset {data} --baselines fuzzy --out {here}/report",
             "--model {model} --dataset {good_data} --baselines none --out {here}/report"],
    "audit": ["{data}", "{data} --write-clean {here}/clean"],
    "ablate": ["{data_ablation}", "{model_ablation}"],
    "push model": ["org/name --dry-run --from {model}"],
    "push dataset": ["org/name --dry-run --from {data}"],
    "push linker": ["org/name --dry-run --model {model} --kb {kb} --kb-licence mit"],
    "serve": ["--model {model} --kb {kb} --port 0"],
    "mcp": ["--model {model} --kb {kb}"],
}  # fmt: skip
READS_NEITHER = {"build", "fetch-images", "kb remove", "kb info", "kb versions", "kb restore", "kb export", "kb import",
                 "kb compact", "push metric", "push space"}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    """A model and a dataset with a damaged file each, their sound copies, and a knowledge base."""
    here = tmp_path_factory.mktemp("verified")
    found = {}
    for name, source in (("data", tiny_mel_dir), ("model", tiny_dim_dir)):
        good, bad = shutil.copytree(source, here / f"good_{name}"), here / name
        if name == "data":
            files = {str(path.relative_to(good)): sha256_of(path) for path in good.rglob("*.parquet")}
            (good / "manifest.json").write_text(json.dumps({"made_by": "dim build", "files": files}))
        else:
            write_checksums(good)
        shutil.copytree(good, bad)
        file = min(bad.rglob("*.parquet" if name == "data" else "*.safetensors"))
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        found |= {f"good_{name}": good, name: bad}
    kb = KnowledgeBase.create(here / "base", str(tiny_mel_dir))
    kb.encode(*load_dim(tiny_dim_dir), progress=False)
    for name in ("data", "model"):
        paths = {"dataset": found["good_data"], "model_name_or_path": found["good_model"]}
        paths["dataset" if name == "data" else "model_name_or_path"] = found[name]
        base = {key: str(path) for key, path in paths.items()} | {"max_steps": 1, "report_to": ["none"]}
        found[f"{name}_ablation"] = here / f"{name}.yaml"
        ablation = {"output_dir": str(here / f"{name} runs"), "base": base, "rows": [{"name": "a"}]}
        found[f"{name}_ablation"].write_text(yaml.safe_dump(ablation))
    return found | {"kb": kb.uri}


def words(name, options, folders, here) -> list[str]:
    return [*name.split(), *(word.format(**folders, here=here) for word in options.split())]


@pytest.mark.parametrize("name, options", [(name, options) for name, lines in READS.items() for options in lines])
def test_a_damaged_file_is_refused(name, options, folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.chdir(tmp_path)
    assert main(words(name, options, folders, tmp_path)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dim ")]
    assert len(lines) == 1
    assert "was damaged or changed after it was written (its checksum is not that of" in lines[0]


def test_no_command_is_left_out():
    commands = {name for name, (place, _) in COMMANDS.items() if place}
    assert READS.keys() | READS_NEITHER == commands
    assert not READS.keys() & READS_NEITHER


@pytest.mark.parametrize("name", ["inspect", "push dataset"])
def test_the_checks_may_be_left_out(name, folders, tmp_path, capsys):
    main([*words(name, READS[name][0], folders, tmp_path), "--no-verify"])
    assert "checksum" not in capsys.readouterr().err
