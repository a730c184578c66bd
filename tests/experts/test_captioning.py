"""`dim caption`: each picture is asked about once, despite damaged pictures and kills."""

import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handmade_png import png
from openai_stub import OpenAIStub
from PIL import Image
from server_habits import HABITS
from tiny_blip2 import save_tiny_blip2

from dim.cli.main import main
from dim.common.files import sha256_of
from dim.common.pictures import load_picture
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.experts.cache import AnswerCache
from dim.experts.captioned_dataset import find_dataset, write_captioned
from dim.experts.captioning import CaptionRequest, ask_expert

HABIT = {str(habit): habit for habit in HABITS}


class CountingExpert:
    """Answers with the size and mean colour of a picture and the prompt, and counts its calls."""

    def __init__(self, identity: str = "counting@1"):
        self.identity, self.asked, self.sizes = identity, [], []

    def answer(self, images, prompts, batch_size=8, max_new_tokens=20):
        self.sizes.append(len(images))
        said = [
            f"{image.size} {np.asarray(image).mean():.0f} {prompt}"
            for image, prompt in zip(images, prompts, strict=True)
        ]
        self.asked += said
        return said


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def save_dataset(folder: Path, cells: list, split: str = "train") -> Path:
    """A dataset with a mention for each cell of the column `image`."""
    (folder / "mentions").mkdir(parents=True)
    (folder / "entities").mkdir()
    rows = {
        "id": [f"m{n}" for n in range(len(cells))],
        "sentence": [f"See the gem {n}." for n in range(len(cells))],
        "mention": ["gem"] * len(cells),
        "start": [8] * len(cells),
        "end": [11] * len(cells),
        "image": cells,
        "entity_id": ["e0"] * len(cells),
        "extra": list(range(len(cells))),
    }
    features = datasets.Features(
        {
            **dict.fromkeys(("id", "sentence", "mention", "entity_id"), datasets.Value("string")),
            **dict.fromkeys(("start", "end", "extra"), datasets.Value("int32")),
            "image": datasets.Image(decode=False),
        }
    )
    # Not by `datasets`, which reads the files that cells without bytes name.
    pq.write_table(pa.Table.from_pydict(rows, features.arrow_schema), folder / "mentions" / f"{split}.parquet")
    (folder / "entities" / "kb.txt").write_text("another file\n")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: mentions\n  data_files:\n"
        f"  - split: {split}\n    path: mentions/{split}.parquet\n---\n# Gems\n"
    )
    return folder


def cell(content: bytes | None, path: str | None = None) -> dict:
    return {"bytes": content, "path": path}


def captioned(source: Path, out: Path, expert, prompt: str = "Q?", cache: Path | None = None, **options):
    """Captions a dataset; returns the rows, the list of the unanswered, and the number of pictures asked about."""
    answers = AnswerCache(cache or out.with_suffix(".sqlite"))
    request = CaptionRequest(
        expert.identity, prompt, options.pop("max_new_tokens", 20), options.pop("max_pixels", 80_000_000)
    )
    found = find_dataset(str(source))
    asked = ask_expert([p for paths in found.files.values() for p in paths], expert, request, answers, **options)
    write_captioned(found, out, request, answers)
    answers.close()
    rows = {
        split: datasets.load_dataset(str(out), "mentions", split=split, cache_dir=str(out) + ".c")
        for split in found.files
    }
    unanswered = [json.loads(line) for line in (out / "unanswered.jsonl").read_text().splitlines()]
    return rows, unanswered, asked


@pytest.fixture(scope="module")
def blip2(tmp_path_factory) -> str:
    return str(save_tiny_blip2(tmp_path_factory.mktemp("blip2")))


COLOURS = [encoded(Image.new("RGB", (n + 3, 5), (n, n, n))) for n in range(12)]


def test_each_picture_is_asked_once_and_all_rows_get_its_answer(tmp_path):
    source = save_dataset(tmp_path / "source", [cell(COLOURS[n % 4], f"p{n}.png") for n in range(12)])
    expert = CountingExpert()
    rows, unanswered, asked = captioned(source, tmp_path / "out", expert, batch_size=3)
    assert (asked, len(expert.asked), unanswered) == (4, 4, [])
    assert expert.sizes == [3, 1]
    for n, row in enumerate(rows["train"]):
        assert row["expert_answer"] == f"({n % 4 + 3}, 5) {n % 4} Q?"
        assert (row["expert_model"], row["expert_prompt"]) == ("counting@1", "Q?")
        assert (row["id"], row["extra"], row["image"].size) == (f"m{n}", n, (n % 4 + 3, 5))
    again, _, asked = captioned(source, tmp_path / "out", expert)
    assert asked == 0
    assert again["train"]["expert_answer"][:] == rows["train"]["expert_answer"][:]


def test_what_an_answer_depends_on_is_asked_anew(tmp_path):
    source = save_dataset(tmp_path / "source", [cell(COLOURS[0])])
    cache = tmp_path / "cache.sqlite"
    changes = [{}, {"prompt": "R?"}, {"max_new_tokens": 5}, {"expert": CountingExpert("counting@2")}, {}]
    asked = []
    for change in changes:
        given = {"expert": CountingExpert(), "cache": cache, **change}
        asked.append(captioned(source, tmp_path / "out", **given)[2])
    assert asked == [1, 1, 1, 1, 0]
    other = save_dataset(tmp_path / "other", [cell(COLOURS[1]), cell(COLOURS[0])])
    assert captioned(other, tmp_path / "out2", CountingExpert(), cache=cache)[2] == 1  # one picture is known
    requests = [("b", "c", 1), ("b", "c", 2), ("", "bc", 1)]
    assert len({CaptionRequest(*request).key(b"a", "gem") for request in requests}) == 3


def test_the_mention_may_be_part_of_the_prompt(tmp_path):
    source = save_dataset(tmp_path / "source", [cell(COLOURS[0])])
    rows, _, _ = captioned(source, tmp_path / "out", CountingExpert(), "Where is {mention}?")
    assert rows["train"][0]["expert_prompt"] == "Where is gem?"
    assert rows["train"][0]["expert_answer"].endswith("Where is gem?")


def test_pictures_from_the_wild_neither_crash_nor_lose_a_row(tmp_path):
    """Each becomes an RGB picture with a caption, or its mention loses the picture and the reason is listed."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = [Image.new("P", (8, 8), n) for n in range(3)]
    file = tmp_path / "on_disk.png"
    file.write_bytes(COLOURS[7])
    good = {
        "jpeg": encoded(noise, "JPEG"),
        "cmyk": encoded(noise.convert("CMYK"), "JPEG"),
        "palette": encoded(noise.convert("P")),
        "16 bit": encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)),
        "rotated": encoded(noise, "JPEG", exif=turned),
        "animated": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "webp": encoded(noise, "WEBP"),
        "1x1": encoded(Image.new("RGB", (1, 1))),
    }
    bad = {
        "truncated": (cell(encoded(noise, "JPEG")[:900], "a.jpg"), "truncated"),
        "svg": (cell(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "a.svg"), "SVG"),
        "bomb": (cell(png(2, 8, (20_000, 20_000), b""), "a.png"), "1 to 80000000 are accepted"),
        "zero bytes": (cell(b"", "a.png"), "is empty"),
        "missing": (cell(None, str(tmp_path / "gone.png")), "no such file"),
        "directory": (cell(None, str(tmp_path)), "is a directory"),
        "url": (cell(None, "https://example.org/a.png"), "is a URL"),
        "text": (cell(b"hello", "a.png"), "is not a picture"),
    }
    cells = [*map(cell, good.values()), cell(None, str(file)), *(one for one, _ in bad.values()), None]
    source = save_dataset(tmp_path / "source", cells)
    expert = CountingExpert()
    rows, unanswered, asked = captioned(source, tmp_path / "out", expert, batch_size=4)
    table = rows["train"]
    assert len(table) == len(cells)
    assert asked == len(good) + 1 == len(expert.asked)
    assert [one["mention"] for one in unanswered] == [f"m{n}" for n in range(len(good) + 1, len(good) + 1 + len(bad))]
    for one, (_, reason) in zip(unanswered, bad.values(), strict=True):
        assert reason in one["reason"], one
    kinds = ["damaged", "SVG", "too large", "empty", "missing", "directory", "URL", "not a picture"]
    assert [one["kind"] for one in unanswered] == kinds
    for number, row in enumerate(table):
        sound = number <= len(good)
        assert bool(row["expert_answer"]) == sound
        assert (row["image"] is not None) == sound
    assert table[len(good)]["image"].size == (10, 5)  # it lies within the dataset now
    assert "(40, 60)" in table[4]["expert_answer"]  # upright


def test_the_limit_of_pixels_is_the_users(tmp_path):
    source = save_dataset(tmp_path / "source", [cell(encoded(Image.new("RGB", (30, 30))))])
    _, unanswered, asked = captioned(source, tmp_path / "out", CountingExpert(), max_pixels=899)
    assert asked == 0
    assert "900 pixels" in unanswered[0]["reason"] or "30 x 30 pixels" in unanswered[0]["reason"]
    assert captioned(source, tmp_path / "out", CountingExpert(), max_pixels=900)[2] == 1


def test_the_new_folder_is_a_whole_dataset(tiny_mel_dir, tmp_path):
    rows, _, asked = captioned(tiny_mel_dir, tmp_path / "out", CountingExpert())
    assert asked == 6  # of 36 mentions
    assert {split: len(table) for split, table in rows.items()} == {"train": 24, "validation": 12}
    for config, split in (("entities", "kb"), ("candidates", "train")):
        before, after = (
            datasets.load_dataset(str(folder), config, split=split, cache_dir=str(tmp_path / f"cache{n}"))
            for n, folder in enumerate((tiny_mel_dir, tmp_path / "out"))
        )
        assert len(before) == len(after)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert set(manifest["files"]) | {"manifest.json"} == files
    for name, checksum in manifest["files"].items():
        assert sha256_of(tmp_path / "out" / name) == checksum
    again, _, asked = captioned(tmp_path / "out", tmp_path / "twice", CountingExpert("counting@2"), "R?")
    assert set(again["train"]["expert_prompt"]) == {"R?"}
    assert (tmp_path / "twice" / "README.md").read_text().count("## The expert's answers") == 1


def test_a_dataset_that_dim_built(tmp_path):
    """Its card has features and sizes, which `datasets` checks."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "entities.jsonl").write_text('{"id": "k1", "name": "Cat", "aliases": [], "description": "animal"}\n')
    mention = {"mention": "cat", "split": "train", "entity_id": "k1"}
    lines = [{**mention, "id": f"m{n}", "sentence": f"Our cat {n}.", "image": f"{n}.png"} for n in range(3)]
    (raw / "mentions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for n in range(3):
        (raw / f"{n}.png").write_bytes(COLOURS[n])
    built, out = tmp_path / "pets", tmp_path / "out"
    command = ["build", "pets", "--layout", "jsonl", "--raw", str(raw), "--images", str(raw), "--out", str(built)]
    assert main(command) == 0
    rows, unanswered, _ = captioned(built, out, CountingExpert())
    assert sorted(rows["train"]["expert_answer"][:]) == [f"({n + 3}, 5) {n} Q?" for n in range(3)]
    assert unanswered == []
    assert rows["train"].features["image"] == datasets.Image()
    assert main(["inspect", str(out)]) == 0


class TestCommand:
    @pytest.fixture
    def source(self, tmp_path):
        return save_dataset(tmp_path / "source", [cell(content) for content in COLOURS[:6]])

    @pytest.fixture
    def command(self, source, blip2, tmp_path):
        options = ["--out", str(tmp_path / "out"), "--expert", "blip2", "--vlm", blip2]
        return ["caption", str(source), *options, "--cache", str(tmp_path / "cache.sqlite"), "--batch-size", "4"]

    def test_blip2(self, command, blip2, tmp_path, capsys):
        from dim.experts.blip2 import PAPER_PROMPT, Blip2Expert

        assert main([*command, "--prompt", "paper"]) == 0
        assert "6 pictures asked about" in capsys.readouterr().out
        rows = datasets.load_dataset(str(tmp_path / "out"), "mentions", split="train", cache_dir=str(tmp_path / "c"))
        expert = Blip2Expert.from_pretrained(blip2)
        assert rows["expert_answer"][:] == expert.answer(
            [load_picture(content) for content in COLOURS[:6]], PAPER_PROMPT
        )
        assert set(rows["expert_model"]) == {expert.identity}
        assert set(rows["expert_prompt"]) == {PAPER_PROMPT}
        assert main([*command, "--prompt", "paper"]) == 0
        assert "process 0: 0 pictures asked about" in capsys.readouterr().out

    def test_what_could_not_be_asked_about_is_counted_by_reason(self, source, command, capsys):
        table = pq.read_table(source / "mentions" / "train.parquet").to_pylist()
        for row, bad in zip(table, (b"", b"", b"hello"), strict=False):
            row["image"] = cell(bad)
        schema = pq.read_schema(source / "mentions" / "train.parquet")
        pq.write_table(pa.Table.from_pylist(table, schema), source / "mentions" / "train.parquet")
        assert main(command) == 0
        told = capsys.readouterr()
        assert "3 mentions with an answer, 3 pictures without (unanswered.jsonl): 2 empty, 1 not a picture" in told.out
        assert re.search(r"asked \(0\): 100%.* 5/5 \[.*<.*(image/s|s/image)\]", told.err)

    @pytest.mark.parametrize(
        "more, message",
        [
            (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
            (["--prompt", " "], "--prompt is empty"),
            (["--base-url", "http://a/v1"], "--base-url is for --expert openai"),
            (["--expert", "openai", "--dtype", "float16"], "--revision and --dtype are for"),
            (["--vlm", "./nothing"], "There is no checkpoint './nothing': it looks like a path"),
        ],
    )
    def test_bad_input(self, command, capsys, more, message):
        assert main([*command, *more]) == 2
        error = capsys.readouterr().err
        assert message in error

    def test_folders_it_leaves_alone(self, command, source, tmp_path, capsys):
        for out, message in ((source, "lies in the dataset itself"), (tmp_path, "was not written by dim caption")):
            assert main([*command, "--out", str(out)]) == 2
            assert message in capsys.readouterr().err
        assert main([command[0], str(tmp_path / "nothing"), *command[2:]]) == 2
        assert "There is no dataset" in capsys.readouterr().err

    def test_killed_at_any_moment_it_goes_on(self, blip2, tmp_path):
        """Captions that were cached before the kill are not asked for again."""
        pictures = [encoded(Image.new("RGB", (9, 9), (n % 256, n // 256, 7))) for n in range(80)]
        source = save_dataset(tmp_path / "source", [cell(content) for content in pictures])
        cache = tmp_path / "cache.sqlite"
        command = ["caption", str(source), "--out", str(tmp_path / "out"), "--expert", "blip2", "--vlm", blip2]
        command += ["--cache", str(cache), "--batch-size", "2", "--max-new-tokens", "4"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        start = [sys.executable, "-m", "dim", *command]
        process = subprocess.Popen(start, stderr=subprocess.DEVNULL, env=environment)
        while not _count(cache) > 4:
            time.sleep(0.02)
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = _count(cache)
        assert 4 < kept < 80
        done = subprocess.run(start, capture_output=True, text=True, timeout=600, env=environment)
        assert done.returncode == 0, done.stderr
        assert f"process 0: {80 - kept} pictures asked about" in done.stdout
        assert _count(cache) == 80

    def test_two_processes_share_the_work(self, command, source, tmp_path):
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        launch = ["torchrun", "--standalone", "--nproc_per_node", "2", "-m", "dim", *command]
        done = subprocess.run(launch, capture_output=True, text=True, timeout=600, env=environment)
        assert done.returncode == 0, done.stderr
        shares = [
            int(line.split(": ")[1].split()[0]) for line in done.stdout.splitlines() if line.startswith("process ")
        ]
        assert sum(shares) == 6
        assert min(shares) > 0
        shutil.move(tmp_path / "out", tmp_path / "together")
        (tmp_path / "cache.sqlite").rename(tmp_path / "other.sqlite")
        assert main(command) == 0
        tables = [pq.read_table(next((tmp_path / name).glob("mentions/*.parquet"))) for name in ("together", "out")]
        assert tables[0].equals(tables[1])


def _count(cache: Path) -> int:
    if not cache.is_file():
        return 0
    connection = sqlite3.connect(cache, timeout=10)
    try:
        return connection.execute("SELECT COUNT(*) FROM expert_answers").fetchone()[0]
    except sqlite3.OperationalError:  # the table is not there yet
        return 0
    finally:
        connection.close()


def test_an_expert_without_an_identity_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no identity"):
        captioned(save_dataset(tmp_path / "s", [cell(COLOURS[0])]), tmp_path / "out", CountingExpert(""))


def test_a_cache_of_an_earlier_dim(tmp_path):
    """Neither the table nor the keys may change: captions are expensive."""
    old = sqlite3.connect(tmp_path / "cache")
    old.execute("CREATE TABLE expert_answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID")
    old.execute("INSERT INTO expert_answers VALUES ('030ec828a97c8aab5f6479a231c53b29', 'a gem')")
    old.commit()
    old.close()
    cache = AnswerCache(tmp_path / "cache")
    request = CaptionRequest("blip2@1", "Where is {mention}?")
    assert cache.get(request.key(b"content of a picture", "the gem")) == "a gem"
    cache.close()


def test_a_cache_that_is_none(tmp_path):
    (tmp_path / "cache").write_bytes(b"hello, this is no database at all")
    with pytest.raises(ValueError, match="cannot be opened"):
        AnswerCache(tmp_path / "cache")


class TestServer:
    """`dim caption --expert openai` against a server that fails."""

    @pytest.fixture
    def stub(self):
        stub = OpenAIStub()
        yield stub
        stub.stop()

    @pytest.fixture
    def command(self, stub, tmp_path, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
        monkeypatch.setattr(OpenAIClient, "pause", lambda self, attempt: 0.0)
        source = save_dataset(tmp_path / "source", [cell(content) for content in COLOURS])
        table = pq.read_table(source / "mentions" / "train.parquet").to_pylist()
        for number, row in enumerate(table):
            row["mention"] = f"gem {number}"
        schema = pq.read_schema(source / "mentions" / "train.parquet")
        pq.write_table(pa.Table.from_pylist(table, schema), source / "mentions" / "train.parquet")
        options = ["--out", str(tmp_path / "out"), "--expert", "openai", "--vlm", "m", "--base-url", stub.url]
        options += ["--prompt", "{mention}", "--cache", str(tmp_path / "cache.sqlite"), "--batch-size", "4"]
        return ["caption", str(source), *options]

    @staticmethod
    def listed(tmp_path) -> dict[str, str]:
        lines = (tmp_path / "out" / "unanswered.jsonl").read_text().splitlines()
        return {row["mention"]: f"{row['kind']}: {row['reason']}" for row in map(json.loads, lines)}

    @pytest.mark.parametrize(
        "status, kind, tries", [(400, "refused", 1), (422, "refused", 1), (413, "refused", 1), (500, "failed", 6)]
    )
    def test_a_picture_that_the_server_refuses_is_listed_and_the_others_are_kept(
        self, stub, command, tmp_path, capsys, status, kind, tries
    ):
        small = {"error": {"message": "height:2 or width:600 must be larger than factor:28"}}
        stub.script = {"gem 2": [lambda body, good: (status, small)] * 99}
        for run in (1, 2):
            assert main(command) == 0
            assert (
                f"11 mentions with an answer, 1 pictures without (unanswered.jsonl): 1 {kind}"
                in capsys.readouterr().out
            )
            (reason,) = self.listed(tmp_path).values()
            assert reason.startswith(f"{kind}: the server says {status}: height:2 or width:600 must be larger")
            assert len(stub.requests) == 11 + run * tries  # the next run asks about that picture alone

    def test_no_error_becomes_a_caption(self, stub, command, tmp_path):
        stub.script = {"gem 3": [HABIT["OpenRouter: 502 in the choice"].play] * 6}
        assert main(command) == 0
        assert self.listed(tmp_path) == {
            "m3": "failed: the server says 502: Upstream overloaded; given up after 6 tries"
        }  # fmt: skip
        assert main(command) == 0
        assert self.listed(tmp_path) == {}

    def test_cut_off_answers_are_no_captions_and_paid_for_once(self, stub, command, tmp_path, capsys):
        def half(body, good):
            choice = {"finish_reason": "length", "message": {"content": "A red wa"}}
            return 200, {**good, "choices": [choice]}

        stub.script = {f"gem {n}": [half, half] for n in range(5)}
        for _ in range(2):
            assert main(command) == 0
            told = capsys.readouterr().out
            assert "7 mentions with an answer, 5 pictures without (unanswered.jsonl): 5 cut off" in told
            assert "5 answers were cut off at --max-new-tokens 20: raise it" in told
        assert len(stub.requests) == 12
        stub.script = {}
        assert main([*command, "--max-new-tokens", "60"]) == 0
        assert self.listed(tmp_path) == {}

    def test_an_answer_that_cannot_be_read_is_asked_for_again_only_on_demand(self, stub, command, tmp_path):
        stub.script = {"gem 1": [lambda body, good: (200, b"<html>Sign in</html>")]}
        assert main(command) == 0
        assert main(command) == 0
        assert self.listed(tmp_path)["m1"].startswith("unreadable: the server's answer has no text (<html>")
        assert len(stub.requests) == 12
        assert main([*command, "--retry-unreadable"]) == 0
        assert self.listed(tmp_path) == {}

    def test_a_wrong_key_ends_the_run_and_what_came_is_kept(self, stub, command, tmp_path, capsys):
        wrong = {"error": {"message": "wrong key sk-0123456789abcdef"}}
        stub.script = {"gem 2": [lambda body, good: (401, wrong)]}
        assert main(command) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error == "dim caption: the server says 401: wrong key ***"
        answered = (
            sqlite3.connect(tmp_path / "cache.sqlite").execute("SELECT COUNT(*) FROM expert_answers").fetchone()[0]
        )
        assert answered == len(stub.requests) - 1
        assert main(command) == 0
        assert len(stub.requests) == 12 + 1

    def test_a_server_that_is_down_ends_the_run_soon(self, stub, command, capsys):
        stub.script = {f"gem {n}": [500] * 99 for n in range(12)}
        assert main(command) == 2
        assert "10 requests in a row failed; the last one: the server says 500" in capsys.readouterr().err

    def test_a_password_in_the_address_is_in_no_file(self, stub, command, tmp_path, capsys):
        command[command.index(stub.url)] = stub.url.replace("http://", "http://ada:secret-pass@")
        assert main(command) == 0
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert b"secret-pass" not in b"".join(files)
        told = capsys.readouterr()
        assert "secret-pass" not in told.out + told.err
        rows = datasets.load_dataset(str(tmp_path / "out"), "mentions", split="train", cache_dir=str(tmp_path / "c"))
        assert set(rows["expert_model"]) == {f"m at {stub.url}"}

    def test_fewer_than_ten_and_all_failed_is_exit_code_1(self, stub, command, tmp_path):
        table = pq.read_table(tmp_path / "source" / "mentions" / "train.parquet").slice(0, 3)
        pq.write_table(table, tmp_path / "source" / "mentions" / "train.parquet")
        stub.script = {f"gem {n}": [422] for n in range(3)}
        assert main(command) == 1

    def test_half_a_character_is_refused_before_anything_is_asked(self, stub, command, capsys):
        for option in ("--vlm", "--prompt"):
            assert main([*command, option, "x\udcff"]) == 2
            assert "half of a character" in capsys.readouterr().err
        assert stub.requests == []
