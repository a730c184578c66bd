"""Bundles: what is opened equals what was pushed, also after network errors."""

import json

import pytest
import torch
from huggingface_hub import constants
from loopback_hub import Fault

from dim import DIMModel, DIMProcessor
from dim.cli.main import main
from dim.common.checksums import unverified
from dim.encoding.loading import load_dim
from dim.kb.store import KnowledgeBase
from dim.linking.bundle import open_bundle
from dim.linking.linker import DIMLinker

pytest_plugins = ("loopback_fixtures",)
ENTITIES = [
    {"id": "a", "name": "Turkey", "description": "a country"},
    {"id": "b", "name": "turkey", "description": "a large bird", "aliases": ["gobbler"]},
    {"id": "c", "name": "Ankara"},
]
SENTENCE = "[[Turkey]] was everywhere that autumn."


@pytest.fixture
def kb(model_folder, tmp_path):
    made = KnowledgeBase.create(tmp_path / "kb", ENTITIES)
    made.encode(DIMModel.from_pretrained(model_folder).eval(), DIMProcessor.from_pretrained(model_folder))
    return made


@pytest.fixture
def pushed(hub, model_folder, kb):
    """A Hub with the linker `org/linker`."""
    command = ["push", "linker", "org/linker", "--model", str(model_folder), "--kb", kb.uri, "--kb-licence", "mit"]
    assert main(command) == 0
    hub.log.clear()
    return hub


def downloads(hub, status=200):
    return [path.split("/main/")[-1].split("/")[-1] for method, path, code in hub.log
            if method == "GET" and "/resolve/" in path and code == status]  # fmt: skip


def imported(tmp_path):
    return list((tmp_path / "cache" / "assets").rglob("entities.lance"))


def change(hub, path, content):
    """Replaces a file in a new commit."""
    repo = hub.repos["models", "org/linker"]
    files = repo.commits[repo.refs["main"]] | {
        path: hub.store(content, large=path.endswith(("parquet", "safetensors")))
    }
    repo.commit("main", files, "changed")


def test_links_as_the_linker_that_was_pushed(pushed, model_folder, kb):
    expected = DIMLinker(*load_dim(model_folder), kb)(SENTENCE, k=3)
    folder, base = open_bundle("org/linker")
    found = DIMLinker(*load_dim(folder), base)(SENTENCE, k=3)
    assert found == expected
    assert base.rows(["b"])["aliases"].to_pylist() == [["gobbler"]]
    assert not list(folder.glob("*.py"))  # code of a repository stays where it is
    card = pushed.files("models", "org/linker")["README.md"].decode()
    assert 'DIMLinker.from_pretrained("org/linker")' in card
    assert "3 entities (`kb/entities.parquet`, licence mit)" in card


def test_is_downloaded_and_imported_once(pushed, tmp_path):
    open_bundle("org/linker")
    [table] = imported(tmp_path)
    changed = table.stat().st_mtime_ns
    pushed.log.clear()
    open_bundle("org/linker")
    assert downloads(pushed) == []
    assert imported(tmp_path) == [table]
    assert table.stat().st_mtime_ns == changed


def test_the_cached_entities_cannot_be_changed(pushed):
    _, base = open_bundle("org/linker")
    with pytest.raises(ValueError, match="cannot be changed"):
        base.upsert([{"id": "d", "name": "Turkey Creek"}])


def test_a_folder_is_opened_like_a_repository(pushed, tmp_path):
    for path, content in pushed.files("models", "org/linker").items():
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(content)
    folder, base = open_bundle(tmp_path / "copy")
    assert folder == tmp_path / "copy"
    assert len(base) == 3


def test_a_revision(pushed, model_folder):
    repo = pushed.repos["models", "org/linker"]
    repo.refs["v1"] = repo.refs["main"]
    change(pushed, "linker.json", b"{}")
    assert len(open_bundle("org/linker", "v1")[1]) == 3
    with pytest.raises(ValueError, match=r"linker.json has a format that this version of dim cannot read"):
        open_bundle("org/linker")
    with pytest.raises(ValueError, match="The linker 'org/linker' has no revision 'nothing' on the Hub"):
        open_bundle("org/linker", "nothing")


def test_other_weights_do_not_go_with_the_vectors(pushed, tiny_clip_dir, tmp_path):
    torch.manual_seed(7)
    other = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4)
    torch.nn.init.normal_(other.mention_projection.weight)
    other.save_pretrained(tmp_path / "other")
    change(pushed, "model.safetensors", (tmp_path / "other" / "model.safetensors").read_bytes())
    folder, base = open_bundle("org/linker")
    with pytest.raises(ValueError, match="model.safetensors was damaged or changed"):
        load_dim(folder)
    with unverified(), pytest.raises(ValueError, match="were encoded by another model"):
        DIMLinker(*load_dim(folder), base)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "../../../somewhere"}, "has a format that this version of dim cannot read"),
        ({"format": 2}, "cannot read: pip install -U dim-mel"),
        ({"encoder": "0" * 32}, "was not encoded by the model that linker.json names"),
        ({"entities": 4}, "was not encoded by the model that linker.json names"),
        ({"sha256": "0" * 64}, "is not the file that was pushed"),
    ],
)
def test_a_manifest_that_does_not_fit(pushed, changes, message):
    manifest = json.loads(pushed.files("models", "org/linker")["linker.json"]) | changes
    change(pushed, "linker.json", json.dumps(manifest).encode())
    with pytest.raises(ValueError, match=message):
        open_bundle("org/linker")


def test_what_is_no_linker(hub, model_folder, tmp_path):
    assert main(["push", "model", "org/dim", "--from", str(model_folder)]) == 0
    for name in ("org/dim", str(model_folder)):
        with pytest.raises(ValueError, match=r"is not a linker \(it has no linker.json\): also give a knowledge base"):
            open_bundle(name)
    with pytest.raises(
        ValueError, match="There is no linker 'org/none', neither as a folder nor on the Hub, or it is private"
    ):
        open_bundle("org/none")
    with pytest.raises(ValueError, match="neither as a folder nor on the Hub: it is not a name that the Hub allows"):
        open_bundle(str(tmp_path / "nothing"))


BROKEN = {
    "the server dies": {"keep": 100, "times": 99},
    "503": {"status": 503, "times": 99},
    "a file that was cut": {"keep": 100, "declared": True, "times": 99},
}


@pytest.mark.parametrize("name", ["model.safetensors", "kb/entities.parquet"])
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_network_poisons_nothing(pushed, tmp_path, fault, name):
    """A clear error; the same call then downloads only the missing files."""
    pushed.faults.append(Fault(name, **BROKEN[fault], then=pushed.stop if "dies" in fault else lambda: None))
    with pytest.raises(
        ValueError, match=r"Cannot download the linker org/linker: .*Run it again: complete files are kept"
    ):
        open_bundle("org/linker")
    assert imported(tmp_path) == []
    if "dies" in fault:  # huggingface_hub would be content with what there is
        with pytest.raises(ValueError, match=r"is incomplete|Cannot download"):
            open_bundle("org/linker")
    whole = set(downloads(pushed))
    pushed.faults.clear()
    pushed.log.clear()
    if "dies" in fault:
        pushed.start()
    folder, base = open_bundle("org/linker")
    assert (folder / name).read_bytes() == pushed.files("models", "org/linker")[name]
    assert len(base) == 3
    again = whole & set(downloads(pushed)) - {name.split("/")[-1]}
    assert again == set() or "dies" in fault  # what was under way when it died was cut, too
    assert len(imported(tmp_path)) == 1


def test_a_line_that_breaks_once_goes_on_where_it_was(pushed, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 512)  # 10 MB: what a break costs at most
    pushed.faults.append(Fault("model.safetensors", keep=1000))
    folder, _ = open_bundle("org/linker")
    assert (folder / "model.safetensors").read_bytes() == pushed.files("models", "org/linker")["model.safetensors"]
    assert downloads(pushed, 206) == ["model.safetensors"]
