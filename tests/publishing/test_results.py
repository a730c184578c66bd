"""Results of `dim eval` on the Hub: what is written, and what huggingface_hub and datasets read from it."""

import json

import pytest
import yaml
from huggingface_hub import HfApi, parse_eval_result_entries
from loopback_fixtures import fresh_process
from loopback_hub import LoopbackHub
from markdown_it import MarkdownIt

from dim.cli.main import main
from dim.common.cards import read_card
from dim.corpora.build.dataset import build
from dim.publishing.benchmark import benchmark_text
from dim.publishing.dataset import dataset_publication
from dim.publishing.model import model_publication

pytest_plugins = ("loopback_fixtures",)
COMMIT = "5503434ddd753f426f4b38109466949a1217c2bb"


def write_report(folder, name="report.json", **changes):
    metrics = {
        "mentions": 9,
        "H@1": {"value": 91.084, "low": 87.0, "high": 94.0},
        "MRR": {"value": 95.1, "low": None, "high": None},
        "mean rank": {"value": 1.2, "low": 1.0, "high": 2.0},
    }
    flattering = {
        "mentions": 8,
        "H@1": {"value": 99.0, "low": None, "high": None},
        "MRR": {"value": 99.5, "low": None, "high": None},
    }
    numbers = {
        "model": str(folder), "dataset": "org/gems", "dataset_commit": COMMIT, "split": "test", "date": "2026-11-28",
        "mentions": 9, "entities": 1703,
        "systems": [{"name": "DIM", "metrics": {"full_kb": metrics, "candidates_dim": flattering}},
                    {"name": "DIM without prior", "metrics": {"full_kb": flattering}},
                    {"name": "BM25", "metrics": {"full_kb": flattering}}],
    }  # fmt: skip
    path = folder / name
    path.write_text(json.dumps({key: value for key, value in (numbers | changes).items() if value != "gone"}))
    return path


def content(made, name):
    [file] = [file for file in made.files if file.path == name]
    return file.read().decode()


def test_entries_are_those_of_huggingface_hub(model_folder):
    made = model_publication(model_folder, "org/dim", [write_report(model_folder)])
    first, second = parse_eval_result_entries(yaml.safe_load(content(made, ".eval_results/gems.yaml")))
    assert (first.dataset_id, first.task_id, first.value) == ("org/gems", "test_full_kb_hits_at_1", 91.08)
    assert (second.task_id, second.value) == ("test_full_kb_mrr", 95.1)
    assert (first.dataset_revision, first.date) == (COMMIT, "2026-11-28")
    assert first.notes == "split test, protocol full_kb, H@1 in percent, 95 % interval 87.0 to 94.0"
    assert second.notes == "split test, protocol full_kb, MRR in percent"
    assert made.notes == ()


def test_the_card_shows_every_ranking_of_the_model(model_folder):
    made = model_publication(model_folder, "org/dim", [write_report(model_folder)])
    metadata, text = read_card(content(made, "README.md"))
    assert "model-index" not in metadata
    section = text.split("## Evaluation")[1]
    assert "`org/gems`, split `test`, 9 mentions, 1,703 entities, 2026-11-28:" in section
    assert "| `full_kb` | 9 | 91.08 [87.0, 94.0] | 95.10 |" in section
    assert "| `candidates_dim` | 8 | 99.00 | 99.50 |" in section
    assert "| `full_kb`, vectors alone | 8 | 99.00 | 99.50 |" in section
    html = MarkdownIt("commonmark").enable("table").render(section)
    assert html.count("<tr>") == 4
    assert "BM25" not in section


def test_several_reports(model_folder):
    reports = [write_report(model_folder),
               write_report(model_folder, "validation.json", split="validation"),
               write_report(model_folder, "train.json", split="train"),
               write_report(model_folder, "other.json", dataset="org/stones")]  # fmt: skip
    made = model_publication(model_folder, "org/dim", reports)
    entries = yaml.safe_load(content(made, ".eval_results/gems.yaml"))
    assert [one["dataset"]["task_id"] for one in entries] == [
        *("test_full_kb_hits_at_1", "test_full_kb_mrr", "validation_full_kb_hits_at_1", "validation_full_kb_mrr")
    ]
    assert len(yaml.safe_load(content(made, ".eval_results/stones.yaml"))) == 2
    assert content(made, "README.md").count("| protocol |") == 4
    with pytest.raises(ValueError, match="Two reports give test_full_kb_hits_at_1 on org/gems"):
        model_publication(model_folder, "org/dim", [*reports, write_report(model_folder, "again.json")])


def test_a_dataset_that_was_read_from_a_folder(model_folder):
    path = write_report(model_folder, dataset="/somewhere/data/gems", dataset_commit=None)
    made = model_publication(model_folder, "org/dim", [path])
    assert not [file for file in made.files if file.path.startswith(".eval_results")]
    assert made.notes[0].startswith("the results on the folder /somewhere/data/gems are in the card alone")
    assert "`gems`, split `test`" in content(made, "README.md")
    made = model_publication(model_folder, "org/dim", [path], dataset="org/gems")
    [entry, _] = yaml.safe_load(content(made, ".eval_results/gems.yaml"))
    assert entry["dataset"] == {"id": "org/gems", "task_id": "test_full_kb_hits_at_1"}
    assert "`org/gems`, split `test`" in content(made, "README.md")


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"model": "elsewhere"}, [], "is a report on elsewhere, not on"),
        ({"model": None}, [], "is a report on None, not on"),
        ({"systems": []}, [], "has no metrics of the model: run dim eval again"),
        ({"systems": "gone"}, [], "is not a report.json of dim eval"),
        ({"date": "gone"}, [], "has no 'date': run dim eval again"),
        ({"dataset_commit": "gone"}, [], "has no 'dataset_commit': run dim eval again"),
        ({}, ["--dataset", "org/stones"], "--dataset is org/stones, but the report is on org/gems of the Hub"),
        ({"dataset_commit": None}, ["--dataset", "gems"], "'gems' is not the name of a repository: give owner/name"),
    ],
)
def test_a_report_without_what_is_needed_is_one_line(model_folder, changes, options, message, capsys):
    path = write_report(model_folder, **changes)
    command = ["push", "model", "org/dim", "--from", str(model_folder), "--dry-run", "--results", str(path), *options]
    assert main(command) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_dataset_without_results(model_folder, capsys):
    command = ["push", "model", "org/dim", "--from", str(model_folder), "--dry-run", "--dataset", "org/gems"]
    assert main(command) == 2
    assert "--dataset names the dataset of a report: give --results too" in capsys.readouterr().err


def test_old_results_go_with_the_old_weights(hub, model_folder):
    command = ["push", "model", "org/dim", "--from", str(model_folder)]
    assert main([*command, "--results", str(write_report(model_folder))]) == 0
    assert [one.task_id for one in HfApi().model_info("org/dim", expand=["evalResults"]).eval_results] == [
        *("test_full_kb_hits_at_1", "test_full_kb_mrr")
    ]
    assert main(command) == 0
    assert ".eval_results/gems.yaml" not in hub.files("models", "org/dim")


EVALUATE = """
import sys
from dim.cli.main import main

data, model, out = sys.argv[1:]
assert main(["push", "dataset", "org/gems", "--from", data]) == 0
assert main(["eval", "--model", model, "--dataset", "org/gems", "--split", "test", "--baselines", "none", "--slices",
             "none", "--protocol", "full_kb", "candidates", "--samples", "100", "--out", out]) == 0
assert main(["push", "model", "org/dim", "--from", model, "--results", f"{out}/report.json"]) == 0
"""


@pytest.fixture
def gems(tmp_path):
    """A dataset of six gems as `dim build` makes it, with a mention in each split."""
    raw = tmp_path / "raw"
    raw.mkdir()
    entities = [{"id": f"e{row}", "name": f"gem {row}", "description": f"stone {row}"} for row in range(6)]
    mentions = [{"id": f"m{row}", "sentence": f"The gem {row} shines.", "mention": f"gem {row}", "entity_id": f"e{row}",
                 "split": split} for row, split in enumerate(["train", "validation", "test"])]  # fmt: skip
    for name, rows in (("mentions", mentions), ("entities", entities)):
        (raw / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = build("own", [raw], tmp_path / "gems", layout="jsonl").folder
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    return folder


def test_tasks_of_a_built_dataset(gems):
    made = dataset_publication(gems, "org/gems")
    benchmark = yaml.safe_load(content(made, "eval.yaml"))
    assert list(benchmark) == ["name", "description", "tasks"]
    assert benchmark["tasks"][0] == {"id": "test_full_kb_hits_at_1", "config": "mentions", "split": "test"}
    assert [task["id"] for task in benchmark["tasks"][4:]] == [
        f"validation_{protocol}_{metric}"
        for protocol in ("full_kb", "candidates") for metric in ("hits_at_1", "mrr")
    ]  # fmt: skip
    (gems / "eval.yaml").write_text("name: mine\n")
    assert content(dataset_publication(gems, "org/gems"), "eval.yaml") == "name: mine\n"


def test_a_dataset_without_candidates_has_no_task_among_them():
    mentions = {"config_name": "mentions", "data_files": [{"split": "test", "path": "test.parquet"}]}
    candidates = {"config_name": "candidates", "data_files": [{"split": "train", "path": "candidates.parquet"}]}
    tasks = yaml.safe_load(benchmark_text("Gems", [mentions, candidates]))["tasks"]
    assert [task["id"] for task in tasks] == ["test_full_kb_hits_at_1", "test_full_kb_mrr"]


def test_evaluated_from_the_hub_and_pushed(gems, model_folder, tmp_path):
    """`dim eval` on a dataset of the Hub, in a process of its own: each result is of a task and a commit there."""
    with LoopbackHub() as hub:
        fresh_process(hub, tmp_path / "home", "-c", EVALUATE, str(gems), str(model_folder), str(tmp_path / "out"))
        benchmark = yaml.safe_load(hub.files("datasets", "org/gems")["eval.yaml"])
        results = yaml.safe_load(hub.files("models", "org/dim")[".eval_results/gems.yaml"])
        commit = hub.repos["datasets", "org/gems"].refs["main"]
    assert {one["dataset"]["id"] for one in results} == {"org/gems"}
    assert {one["dataset"]["revision"] for one in results} == {commit}
    tasks = {task["id"] for task in benchmark["tasks"] if task["split"] == "test"}
    assert {one["dataset"]["task_id"] for one in results} == tasks
