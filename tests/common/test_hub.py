"""One request before a download says what is wrong with a name."""

import pytest

from dim import DIMError
from dim.common.hub import check_repository

pytest_plugins = ("loopback_fixtures",)


@pytest.fixture
def repository(hub, tmp_path):
    """A repository with one file."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url)
    api.create_repo("org/model")
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="org/model")
    hub.log.clear()
    return "org/model"


@pytest.mark.parametrize("name", ["./m", "../m", "/nowhere/m", "~/m", "out/runs/m", "m/", "C:\\runs\\m", "a\\b"])
def test_a_path_is_never_asked_for(hub, name):
    with pytest.raises(DIMError, match="looks like a path, and there is no such folder"):
        check_repository(name, "model")
    assert hub.log == []


def test_folders_and_repositories_are_found(repository, hub, tmp_path):
    check_repository(tmp_path, "model")
    assert hub.log == []
    check_repository(repository, "model")
    assert [method for method, *_ in hub.log] == ["HEAD"]


@pytest.mark.parametrize(
    "name, options, wanted",
    [
        ("nope", {}, "There is no model 'nope', neither as a folder nor on the Hub, or it is private"),
        ("org/nope", {}, "There is no model 'org/nope', neither as a folder nor on the Hub, or it is private"),
        ("two words", {}, "not a name that the Hub allows"),
        ("org/model", {"file": "linker.json"}, "is on the Hub, but is no model: it has no linker.json"),
        ("org/model", {"revision": "v9"}, "has no revision 'v9'"),
    ],
)
def test_what_is_not_there_is_one_line_after_one_request(repository, hub, name, options, wanted):
    with pytest.raises(DIMError) as raised:
        check_repository(name, "model", **options)
    assert wanted in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(hub.log) <= 1


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(DIMError, match="is a file: give its folder"):
        check_repository(tmp_path / "model.safetensors", "model")


def test_a_cached_repository_needs_no_hub(repository, hub):
    from huggingface_hub import hf_hub_download

    hf_hub_download(repository, "config.json")
    hub.stop()
    check_repository(repository, "model")
    with pytest.raises(DIMError, match="There is no folder 'nope', and the Hub cannot be asked for it"):
        check_repository("nope", "model")


def test_in_offline_mode_nothing_is_asked(repository, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DIMError, match="offline mode"):
        check_repository(repository, "model")
    assert hub.log == []


def test_loading_a_model_asks_once_for_a_name_that_is_not_there(hub):
    from dim import load_dim

    with pytest.raises(DIMError, match="There is no model 'nope'"):
        load_dim("nope")
    assert len(hub.log) == 1
