"""Pushing to a Hub that answers: repositories, branches, pull requests, and pushes that stop halfway."""

import hashlib
import json

import pytest
from huggingface_hub import HfApi
from loopback_hub import Fault
from raw_release import PROVENANCE, write_pictures, write_release

from dim.cli.main import main
from dim.corpora.build.dataset import build
from dim.publishing.files import Publication, RepoFile
from dim.publishing.model import model_publication
from dim.publishing.upload import push

pytest_plugins = ("loopback_fixtures",)


def publication(repo_type="model", replaces=("*.safetensors",), **files):
    """A push of small files."""
    named = {name.replace("__", ".").replace("_in_", "/"): content for name, content in files.items()}
    return Publication(repo_type, "org/dim", tuple(RepoFile(*one) for one in named.items()), replaces)


def requests(hub, method, part):
    return [path for asked, path, _ in hub.log if asked == method and part in path]


def test_everything_arrives_as_listed(hub, model_folder):
    made = model_publication(model_folder, "org/dim")
    address = push(made)
    assert address.startswith(f"{hub.url}/org/dim/commit/")
    assert hub.files("models", "org/dim") == {file.path: file.read() for file in made.files}
    assert not hub.repos["models", "org/dim"].private


def test_private_and_its_second_push(hub, model_folder, capsys):
    command = ["push", "model", "org/dim", "--from", str(model_folder), "--private"]
    assert main(command) == 0
    repo = hub.repos["models", "org/dim"]
    assert repo.private
    commits = len(repo.commits)
    assert main(command) == 0
    assert len(repo.commits) == commits  # nothing differs: no commit
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{hub.url}/org/dim/commit/")


def test_restricted_data_goes_into_a_private_repository_alone(hub):
    files, restricted = (RepoFile("a.txt", b"theirs"),), ("README.md has no licence.",)
    made = Publication("dataset", "org/theirs", files, restricted=restricted)
    with pytest.raises(ValueError, match="README.md has no licence. Only its owner can permit publishing"):
        push(made)
    assert ("datasets", "org/theirs") not in hub.repos
    push(made, private=True)
    assert hub.repos["datasets", "org/theirs"].private
    assert hub.files("datasets", "org/theirs") == {"a.txt": b"theirs"}
    push(Publication("dataset", "org/open", (RepoFile("b.txt", b"ours"),)))
    public = Publication("dataset", "org/open", files, restricted=restricted)
    with pytest.raises(ValueError, match="org/open is public. README.md has no licence"):
        push(public, private=True)
    assert hub.files("datasets", "org/open") == {"b.txt": b"ours"}


def test_a_plus_build_goes_into_a_private_repository(hub, tmp_path, capsys, caplog):
    raw, images = write_release(tmp_path / "raw"), write_pictures(tmp_path / "images")
    line = {"id": "Q11", "description": "A pilot from the coast.", **PROVENANCE}
    (tmp_path / "plus.jsonl").write_text(json.dumps(line) + "\n")
    build("wikimel_plus", [raw], tmp_path / "plus", images=[images], descriptions=tmp_path / "plus.jsonl")
    command = ["push", "dataset", "org/wikimel_plus", "--from", str(tmp_path / "plus")]
    assert main(command) == 2
    assert "push it to a private repository: --private" in capsys.readouterr().err
    assert ("datasets", "org/wikimel_plus") not in hub.repos
    with caplog.at_level("INFO"):
        assert main([*command, "--private"]) == 0
    assert "restricted: keep the repository private" in caplog.text + capsys.readouterr().err
    assert hub.repos["datasets", "org/wikimel_plus"].private
    assert "README.md" in hub.files("datasets", "org/wikimel_plus")


def test_a_branch_is_made(hub):
    push(publication(a__txt=b"main"))
    push(publication(a__txt=b"branch"), revision="next")
    push(publication(a__txt=b"again"), revision="next")
    assert hub.files("models", "org/dim") == {"a.txt": b"main"}
    assert hub.files("models", "org/dim", "next") == {"a.txt": b"again"}


def test_a_pull_request(hub, model_folder, capsys):
    push(publication(a__txt=b"main"))
    assert main(["push", "model", "org/dim", "--from", str(model_folder), "--create-pr"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/org/dim/discussions/1"
    assert hub.files("models", "org/dim") == {"a.txt": b"main"}
    assert "config.json" in hub.files("models", "org/dim", "refs/pr/1")
    assert main(["push", "model", "org/none", "--from", str(model_folder), "--create-pr"]) == 2
    assert "There is no model org/none" in capsys.readouterr().err


def test_old_weights_go_and_other_files_stay(hub):
    push(publication(a__safetensors=b"1", b__safetensors=b"2", other__md=b"3"))
    push(publication(a__safetensors=b"4"))
    assert hub.files("models", "org/dim") == {"a.safetensors": b"4", "other.md": b"3"}


def test_a_push_that_stopped_goes_on(hub):
    files = publication(a__safetensors=b"first", b__safetensors=b"second", c__json=b"{}")
    second = hashlib.sha256(b"second").hexdigest()
    hub.faults.append(Fault(second, times=99, status=503))
    with pytest.raises(ValueError, match=r"503 .*Run it again: files that the Hub has are not sent again"):
        push(files)
    assert hub.files("models", "org/dim") == {}  # all or nothing
    hub.faults.clear()
    hub.log.clear()
    push(files)
    assert requests(hub, "PUT", "/_lfs/") == [f"/_lfs/{second}"]  # the first one is there already
    assert len(hub.files("models", "org/dim")) == 3


def test_without_a_token_or_a_hub(hub, monkeypatch, model_folder, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    command = ["push", "model", "org/dim", "--from", str(model_folder)]
    assert main(command) == 2
    assert "The Hub refuses the push (401): log in with a write token" in capsys.readouterr().err
    hub.stop()
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "The push failed: " in message
    assert "Connection refused" in message


def test_nothing_is_sent_where_a_check_fails(hub, model_folder, capsys):
    (model_folder / "README.md").write_text("---\nlicense: mit\n---\n/home/me/runs\n")
    assert main(["push", "model", "org/dim", "--from", str(model_folder)]) == 2
    assert "a local path ('/home/me/runs')" in capsys.readouterr().err
    assert hub.log == []


def test_a_space_knows_what_it_runs_on(hub, request):
    folder = request.config.rootpath / "metrics" / "mel_ranking"
    assert main(["push", "metric", "org/mel_ranking", "--from", str(folder)]) == 0
    assert "mel_ranking.py" in hub.files("spaces", "org/mel_ranking")
    HfApi().create_tag("org/mel_ranking", repo_type="space", tag="v1")
    assert hub.files("spaces", "org/mel_ranking", "v1") == hub.files("spaces", "org/mel_ranking")
