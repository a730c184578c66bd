"""What `dim push` would upload, and what it refuses to, before anything is uploaded."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dim import DIMModel, DIMProcessor, KnowledgeBase
from dim.cli.main import main
from dim.common.cards import read_card
from dim.publishing.dataset import dataset_publication
from dim.publishing.leaks import leaks
from dim.publishing.licences import licence_problem
from dim.publishing.linker import linker_publication
from dim.publishing.model import model_publication
from dim.publishing.space import metric_publication, space_publication

pytest_plugins = ("loopback_fixtures",)
SECRET = "hf_" + "abcDEF0123456789xyz"


def write_dataset(folder, head="license: cc-by-4.0\n", body="", picture=None, text="a stone"):
    """A dataset with one entity, and its card."""
    (folder / "entities").mkdir(parents=True)
    picture = picture or {"bytes": b"png", "path": "gem.png"}
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"id": ["e1"], "description": [text], "images": pa.array([[picture]], kind)})
    pq.write_table(table, folder / "entities" / "kb-0.parquet")
    files = "configs:\n- config_name: entities\n  data_files:\n  - split: kb\n    path: entities/kb-*.parquet\n"
    (folder / "README.md").write_text(f"---\n{head}{files}---\n{body}")
    (folder / "raw.json").write_text("not ours")
    return folder


def test_files_of_a_model(model_folder):
    made = model_publication(model_folder, "org/dim")
    names = {file.path for file in made.files}
    assert {"README.md", "config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= names
    assert {"modeling_dim.py", "processing_dim.py", "configuration_dim.py", "towers_dim.py"} <= names
    assert not names & {"metrics.json", "checkpoint-3/model.safetensors"}
    card = next(file for file in made.files if file.path == "README.md").read().decode()
    assert 'from_pretrained("org/dim", trust_remote_code=True)' in card
    assert "path/to/this/folder" not in card
    assert made.notes == ("no results: run dim eval, then pass --results report.json",)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", '{"_name_or_path": "runs/a"}', r"config.json, line \d+, contains _name_or_path \('runs/a'\)"),
        (
            "tokenizer_config.json",
            '{"name": "/tmp/x/y"}',
            "tokenizer_config.json, line 1, contains a local path",
        ),
        ("README.md", "Trained on /home/me/data", "README.md, line .*, contains a local path"),
        ("README.md", f"use {SECRET}", r"contains what looks like an access token \(hf_ab\.\.\.\)"),
    ],
)
def test_leaks_are_refused(model_folder, file, text, message):
    path = model_folder / file
    if file == "config.json":
        text = json.dumps(json.loads(path.read_text()) | json.loads(text))
    path.write_text(path.read_text() + text if file == "README.md" else text)
    with pytest.raises(ValueError, match=message) as refusal:
        model_publication(model_folder, "org/dim")
    assert SECRET not in str(refusal.value)


def test_leaks_are_found():
    found = [f"token={SECRET}", "sk-proj-" + "a1" * 12, "file:///a/b", r"C:\Users\me\x", '"C:\\\\Users\\\\me"',
             "AKIA" + "A1" * 8, "-----BEGIN RSA PRIVATE KEY-----", "see /Users/me/x"]  # fmt: skip
    assert [text for text in found if not list(leaks(text))] == []
    harmless = ["https://example.org/home/me/page", "hf_hub_download(repo)", "ask-me-about-something-very-long",
                "python build.py --out /tmp/packages", '"_name_or_path": ""', "<a href='/docs/home/x'>", "hf_token",
                "a/home/x"]  # fmt: skip
    assert [text for text in harmless if list(leaks(text))] == []


def test_a_model_lacks_a_file(model_folder):
    for name in ("config.json", "processor_config.json", "README.md", "modeling_dim.py"):
        content = (model_folder / name).read_bytes()
        (model_folder / name).unlink()
        with pytest.raises(ValueError, match=name):
            model_publication(model_folder, "org/dim")
        (model_folder / name).write_bytes(content)


def test_a_model_without_weights_licence_or_type(model_folder):
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no weights as safetensors"):
        model_publication(model_folder, "org/dim")
    (model_folder / "pytorch_model.bin").rename(model_folder / "model.safetensors")
    (model_folder / "README.md").write_text("---\ntags: [a]\n---\n")
    with pytest.raises(ValueError, match="has no licence"):
        model_publication(model_folder, "org/dim")
    (model_folder / "README.md").write_text("No head.")
    with pytest.raises(ValueError, match="has no metadata"):
        model_publication(model_folder, "org/dim")
    (model_folder / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match="contains a model of type 'clip', not a DIM"):
        model_publication(model_folder, "org/dim")


def test_code_of_another_version_is_told(model_folder):
    with (model_folder / "layers_dim.py").open("a") as stream:
        stream.write("# mended\n")
    assert "layers_dim.py differ from the installed dim" in model_publication(model_folder, "org/dim").notes[0]


def test_dataset_goes_with_what_its_card_names(tmp_path):
    folder = write_dataset(tmp_path / "gems")
    (folder / "script").mkdir()
    (folder / "script" / "gems.py").write_text("import datasets\n")
    (folder / "rejected.jsonl").write_text("")
    (folder / ".manifest.json").write_text("{}")
    names = [file.path for file in dataset_publication(folder, "org/gems").files]
    assert names == ["README.md", "entities/kb-0.parquet", "rejected.jsonl", "script/gems.py"]


TABLE = """
| option | value |
| --- | --- |
| layout | {layout} |
| pictures | {pictures} |

| raw file | what | source | licence | sha256 |
| --- | --- | --- | --- | --- |
| texts.json | texts | someone | CC BY-SA 4.0 | 00 |
| a \\| b.json | names | someone | {licence} | 11 |
"""


@pytest.mark.parametrize(
    ("head", "table", "message"),
    [
        ("license: unknown\n", {}, "has the licence 'unknown', which does not allow publishing, or is unknown"),
        ("license: other\n", {}, "has the licence 'other'"),
        ("license: [mit, cc-by-nd-4.0]\n", {}, "has the licence 'cc-by-nd-4.0'"),
        ("", {}, "README.md has no licence"),
        ("license: mit\n", {"licence": "none"}, r"the raw file a \\\| b.json that it was built from has no licence"),
        ("license: mit\n", {"licence": "ask us"}, "has the licence 'ask us'"),
        ("license: mit\n", {"pictures": "embedded"}, "without a column image_license"),
    ],
)
def test_datasets_that_nobody_may_pass_on(tmp_path, head, table, message):
    body = TABLE.format(**{"layout": "kgmel", "pictures": "none given", "licence": "MIT"} | table)
    folder = write_dataset(tmp_path / "gems", head, body)
    with pytest.raises(ValueError, match=message) as caught:
        dataset_publication(folder, "org/gems")
    assert "push it to a private repository: --private" in str(caught.value)
    made = dataset_publication(folder, "org/gems", private=True)
    assert made.notes[0].startswith("restricted: keep the repository private")
    with pytest.raises(ValueError, match=message):
        made.check_private(False)


@pytest.mark.parametrize(
    ("head", "table"),
    [
        ("license: cc-by-sa-4.0\n", {}),
        ("license: mit\n", {"layout": "jsonl", "licence": "none", "pictures": "embedded"}),
        ("license: mit\ndataset_info:\n  features:\n  - name: image_license\n", {"pictures": "embedded"}),
    ],
)
def test_datasets_that_may_be_passed_on(tmp_path, head, table):
    body = TABLE.format(**{"layout": "kgmel", "pictures": "none given", "licence": "MIT"} | table)
    assert dataset_publication(write_dataset(tmp_path / "gems", head, body), "org/gems").files


@pytest.mark.parametrize(
    ("licences", "message"),
    [
        (["cc-by-4.0", "CC0 1.0"], None),
        (["cc-by-4.0", ""], "1 of the pictures have no licence"),
        (["", "fair use"], "1 of the pictures have no licence"),
        (["fair use", "fair use"], "2 of the pictures have the licence 'fair use'"),
    ],
)
def test_every_embedded_picture_needs_a_licence(tmp_path, licences, message):
    head = "license: mit\ndataset_info:\n  features:\n  - name: image_license\n"
    folder = write_dataset(tmp_path / "gems", head, TABLE.format(layout="kgmel", pictures="embedded", licence="MIT"))
    picture = pa.array([{"bytes": b"png", "path": "a.png"}, None, {"bytes": b"png", "path": "b.png"}])
    table = pa.table({"image": picture, "image_license": [licences[0], "", licences[1]]})
    pq.write_table(table, folder / "entities" / "kb-1.parquet")
    if message is None:
        assert dataset_publication(folder, "org/gems").restricted == ()
        return
    with pytest.raises(ValueError, match=message):
        dataset_publication(folder, "org/gems")


def test_a_model_is_licensed_by_who_pushes_it(model_folder, capsys):
    from dim.training.model_card import model_card

    (model_folder / "README.md").write_text(model_card({"step": 1, "H@1": 1.0}, {"dataset": "gems"}))
    command = ["push", "model", "org/dim", "--from", str(model_folder), "--dry-run"]
    assert main(command) == 2
    assert "has no licence: give one by --license" in capsys.readouterr().err
    for licence in ("unknown", "all rights / reserved", ""):
        assert main([*command, "--license", licence]) == 2
        assert "is not a licence" in capsys.readouterr().err
    assert main([*command, "--license", "CC BY 4.0"]) == 0
    made = model_publication(model_folder, "org/dim", licence="CC BY 4.0")
    assert read_card(made.files[-1].read().decode())[0]["license"] == "cc-by-4.0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"picture": {"bytes": None, "path": "gem.png"}}, "column 'images', contains pictures that are only paths"),
        ({"picture": {"bytes": b"png", "path": "/pictures/gem.png"}}, "contains the folders of pictures"),
        ({"text": f"asked with {SECRET}"}, r"column 'description', contains what looks like an access token"),
    ],
)
def test_leaks_in_parquet(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        dataset_publication(write_dataset(tmp_path / "gems", **changes), "org/gems")


def test_a_dataset_whose_card_names_what_is_not_there(tmp_path):
    folder = write_dataset(tmp_path / "gems")
    (folder / "gems.py").write_text("")
    with pytest.raises(ValueError, match="would make load_dataset refuse the repository"):
        dataset_publication(folder, "org/gems")
    (folder / "entities" / "kb-0.parquet").unlink()
    with pytest.raises(ValueError, match=r"names 'entities/kb-\*.parquet', and there is no such file"):
        dataset_publication(folder, "org/other")
    with pytest.raises(ValueError, match="There is no folder"):
        dataset_publication(tmp_path / "nothing", "org/gems")


def test_the_published_cards_hold_what_their_licence_says(request):
    """The repository's own: the sample may go out, texts without a licence may not."""
    own = request.config.rootpath / "datasets"
    assert len(dataset_publication(own / "namesakes", "org/namesakes").files) > 10
    with pytest.raises(ValueError, match="has the licence 'other'"):
        dataset_publication(own / "wikimel", "org/wikimel")


def test_a_metric_is_called_as_its_file(request):
    folder = request.config.rootpath / "metrics" / "mel_ranking"
    made = metric_publication(folder, "org/mel_ranking")
    assert (made.repo_type, made.sdk) == ("space", "gradio")
    assert [file.path for file in made.files] == ["README.md", "app.py", "mel_ranking.py", "requirements.txt"]
    with pytest.raises(ValueError, match="has no ranking.py; evaluate.load"):
        metric_publication(folder, "org/ranking")


def test_a_space_says_what_it_runs_on(tmp_path):
    front = {"sdk": "gradio", "app_file": "app.py", "license": "apache-2.0"}
    for missing in ("sdk", "license"):
        part = {name: value for name, value in front.items() if name != missing}
        (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump(part)}---\n")
        with pytest.raises(ValueError, match=f"has no {missing}"):
            space_publication(tmp_path, "org/demo")
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump(front)}---\n")
    with pytest.raises(ValueError, match=r"has no app.py; it is the app_file in README.md"):
        space_publication(tmp_path, "org/demo")


def test_a_linker_needs_a_licence_and_its_own_vectors(model_folder, tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", [{"id": "a", "name": "Turkey"}])
    with pytest.raises(ValueError, match="--kb-licence has the licence 'unknown'"):
        linker_publication(model_folder, kb.uri, "unknown", "org/linker", tmp_path)
    with pytest.raises(ValueError, match="1 entities of .* are not encoded yet.* dim kb encode"):
        linker_publication(model_folder, kb.uri, "mit", "org/linker", tmp_path)
    kb.encode(DIMModel.from_pretrained(model_folder).eval(), DIMProcessor.from_pretrained(model_folder))
    own = linker_publication(model_folder, kb.uri, "unknown", "org/linker", tmp_path, private=True)
    assert own.restricted[0].startswith("--kb-licence has the licence 'unknown'")
    kb.upsert([{"id": "b", "name": "turkey"}])
    with pytest.raises(ValueError, match="1 entities of .* are not encoded yet"):
        linker_publication(model_folder, kb.uri, "mit", "org/linker", tmp_path)
    with pytest.raises(ValueError, match="is empty"):
        linker_publication(model_folder, KnowledgeBase.create(tmp_path / "no", []).uri, "mit", "org/linker", tmp_path)


def test_licence_names():
    for licence in ("MIT", "CC BY-SA 4.0", ["apache-2.0", "cc0-1.0"]):
        assert licence_problem("it", licence) is None
    for licence in (None, [], "", 3, ["mit", "other"]):
        assert licence_problem("it", licence).startswith("it has")


def test_dry_run_lists_every_file_and_talks_to_nobody(model_folder, capsys):
    assert main(["push", "model", "org/dim", "--from", str(model_folder), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in lines[:-1]}
    assert listed["model.safetensors"] == (model_folder / "model.safetensors").stat().st_size
    assert int(re.sub(r"\D", "", lines[-1].split()[0])) == sum(listed.values())
    assert lines[-1].endswith("total for the model org/dim")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["dim"], "'dim' is not the name of a repository: give owner/name"),
        (["org/dim", "--revision", "x", "--create-pr"], "leave --revision out"),
    ],
)
def test_targets_that_cannot_be(model_folder, capsys, options, message):
    assert main(["push", "model", *options, "--from", str(model_folder)]) == 2
    assert message in capsys.readouterr().err
