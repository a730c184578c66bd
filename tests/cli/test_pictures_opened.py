"""Only DIM's own module opens pictures: `datasets`, which knows neither its formats nor its limits, decodes none."""

import shutil

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openai_stub import OpenAIStub
from picture_server import Server, picture

from dim.cli.main import main
from dim.encoding.loading import load_dim
from dim.kb.store import KnowledgeBase


@pytest.fixture
def undecoded(monkeypatch):
    def decoded(self, *given, **options):
        raise AssertionError("decoded by datasets")

    monkeypatch.setattr(datasets.Image, "decode_example", decoded)
    monkeypatch.setenv("OPENAI_API_KEY", "key")


TRAINING = "--max_steps 1 --per_device_train_batch_size 12 --report_to none"


@pytest.mark.parametrize(
    "words",
    [
        "inspect {data} --sheet {here}/sheet.png",
        "audit {data}",
        "kb create {here}/kb --from {data} --model {model}",
        "eval --model {model} --dataset {data} --baselines fuzzy --samples 100 --out {here}/report",
        f"train --model_name_or_path {{model}} --dataset {{data}} --output_dir {{here}}/run {TRAINING}",
        "calibrate --model {here}/model --kb {kb} --dataset {data}",
        "caption {data} --expert openai --vlm m --base-url {server} --cache {here}/cache --out {here}/out",
    ],
    ids=lambda words: words.split()[0],
)
def test_no_command_lets_datasets_decode(words, undecoded, tiny_mel_dir, tiny_dim_dir, tmp_path):
    kb, stub = tmp_path / "base", None
    if "{kb}" in words:
        model, processor = load_dim(tiny_dim_dir)
        model.save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
        KnowledgeBase.create(kb, str(tiny_mel_dir)).encode(model, processor, progress=False)
    if "{server}" in words:
        stub = OpenAIStub()
    server = stub.url if stub else ""
    places = {"data": tiny_mel_dir, "model": tiny_dim_dir, "here": tmp_path, "kb": kb, "server": server}
    assert main([word.format(**places) for word in words.split()]) == 0
    if stub:
        assert len(stub.requests) == 6
        stub.stop()


@pytest.fixture
def with_urls(tiny_mel_dir, tmp_path):
    """A dataset whose pictures are the URL of a server, which `datasets` would fetch from any address."""
    server = Server()
    cell = {"bytes": None, "path": server.serve("/a.png", picture())}
    folder = shutil.copytree(tiny_mel_dir, tmp_path / "data")
    for file, value in (("mentions/train", cell), ("mentions/validation", cell), ("entities/kb", [cell])):
        table = pq.read_table(folder / f"{file}.parquet")
        place = table.schema.get_field_index("image" if isinstance(value, dict) else "images")
        field = table.schema.field(place)
        pq.write_table(
            table.set_column(place, field, pa.array([value] * len(table), field.type)), folder / f"{file}.parquet"
        )
    yield folder, server
    server.stop()


@pytest.mark.parametrize(
    "words",
    [
        "inspect {data} --sheet {here}/sheet.png",
        "audit {data}",
        "kb create {here}/kb --from {data}",
        "eval --model {model} --dataset {data} --baselines fuzzy --samples 100 --out {here}/report",
        f"train --model_name_or_path {{model}} --dataset {{data}} --output_dir {{here}}/run {TRAINING}",
        "caption {data} --expert openai --vlm m --base-url http://127.0.0.1:9 --cache {here}/cache --out {here}/out",
    ],
    ids=lambda words: words.split()[0],
)
def test_a_url_in_a_dataset_is_never_fetched(words, with_urls, tiny_dim_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    folder, server = with_urls
    code = main([word.format(data=folder, model=tiny_dim_dir, here=tmp_path) for word in words.split()])
    assert server.seen == []
    assert code == 0 or "/a.png" in capsys.readouterr().err  # the line names it
