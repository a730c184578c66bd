"""The report's page in a browser: one file, offline, with hostile texts."""

import json
import re
from pathlib import Path

import pytest

from dim.evaluation import report
from dim.evaluation.report import markdown, write_report
from dim.evaluation.run import Report, Settings, evaluate

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'> & \u2028 | `x`"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def interval(value):
    return {"value": value, "low": value - 2, "high": value + 2}


def system(name, value):
    names = ("H@1", "H@3", "H@5", "H@10", "H@20", "MRR", "mean rank", "median rank")
    metrics = {"mentions": 40, **{metric: interval(value) for metric in names}}
    part = {"mentions": 20, "H@1": interval(value - 5), "MRR": interval(value)}
    reliability = {"ECE": interval(4.0), "bins": [{"count": 20, "confidence": 0.4, "accuracy": 0.5}] * 2}
    return {
        "name": name,
        "metrics": {"full_kb": metrics, "candidates": {**metrics, "mean rank": None}},
        "slices": {"name": {HOSTILE: part, "other": {**part, "H@1": interval(value + 5)}}},
        "ranks": {"1": 20, "2": 10, "3-5": 5, "not retrieved": 5},
        "calibration": {"raw": reliability, "fitted": reliability} if name == "DIM" else None,
        "nil": {"NIL precision": interval(50.0), "NIL recall": interval(40.0), "NIL F1": interval(44.0)},
    }


def entity(number, **more):
    return {"id": f"e{number}", "name": f"Entity {number} {HOSTILE}", "description": HOSTILE, "picture": PIXEL,
            "name likeness": 80.0, "words in the sentence": 1, "times in training": 3, **more}  # fmt: skip


def example(number):
    gold = None if number == 2 else entity(number)
    found = [entity(k, score=9.0 - k, share=0.2, right=gold is not None and k == number) for k in range(5)]
    text = f"😀 sentence {number} with a name in it. {HOSTILE}"
    return {
        "id": f"m{number}", "sentence": text, "mention": "name", "start": text.index("name"),
        "end": text.index("name") + 4, "expert": HOSTILE, "picture": PIXEL if number % 2 else None,
        "right": number == 0, "gold": gold, "gold score": 1.5, "attention": {"picture": 0.75, "sentence": 0.25},
        "ranks": {"DIM": 1.0 if number == 0 else 7.0, "fuzzy name": 1.0 if number < 5 else None},
        "slices": ["other"] if number % 2 else [HOSTILE], "found": found,
    }  # fmt: skip


@pytest.fixture(scope="module")
def numbers():
    tests = [{"first": "DIM", "second": "fuzzy name", "protocol": "full_kb", "metric": "H@1", "difference": 3.0,
              "low": 1.0, "high": 5.0, "p": 0.01}]  # fmt: skip
    return {
        "command": "dim eval --dataset x", "date": "2026-01-31", "dataset": HOSTILE, "split": "validation",
        "model": HOSTILE, "mentions": 40, "NIL mentions": 3, "entities": 100, "with picture": 20, "intervals": "95 %",
        "protocols": {
            "full_kb": {"meaning": "all of them", "ties": "mean", "comparable": True},
            "candidates": {"meaning": "some of them", "ties": "mean", "comparable": False},
        },
        "candidates": {"recall@1": 50.0}, "not run": {"text": HOSTILE},
        "systems": [system("DIM", 80.0), system("DIM without picture", 60.0), system("fuzzy name", 70.0)],
        "tests": tests,
    }  # fmt: skip


@pytest.fixture(scope="module")
def page_file(numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(Report(numbers, [example(number) for number in range(60)]), folder, "dim eval --dataset x")
    return folder / "report.html"


@pytest.fixture
def page(page_file, chromium):
    """The page; collects every error and every request over the network."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.problems = []
        tab.on("pageerror", lambda error: tab.problems.append(str(error)))
        tab.on("console", lambda message: message.type == "error" and tab.problems.append(message.text))
        tab.on("request", lambda request: request.url.startswith(("http", "ws")) and tab.problems.append(request.url))
        tab.goto(page_file.as_uri())
        yield tab
        assert tab.problems == []
        assert tab.evaluate("window.broken") is None
        browser.close()


@pytest.mark.browser
def test_tables_and_plots_are_drawn(page):
    tables = page.locator("#tables table")
    assert tables.count() == 4  # two protocols, NIL, paired tests
    assert [tables.nth(number).locator("tbody tr").count() for number in range(4)] == [3, 3, 3, 1]
    page.click("summary")
    assert "3.00 [1.00, 5.00]" in tables.nth(3).inner_text()
    assert page.locator("h3 .tag").all_inner_texts() == ["only for comparison with published tables"]
    assert "recall@1 50.00" in page.locator("#head").inner_text()
    titles = page.locator("figure h3").all_inner_texts()
    assert titles == ["Hits at k", "Without one input", "By name", "Ranks of the right entity", "Calibration"]
    assert page.locator("figure svg").count() == 5
    assert "script" in page.locator("h1").inner_text()  # shown as text, not run
    assert not re.search(r"NaN|undefined", page.content().split('id="data"')[0])


@pytest.mark.browser
def test_marks_stay_inside_their_plots(page):
    outside = page.evaluate(
        """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
             const frame = svg.getBoundingClientRect();
             const marks = [...svg.querySelectorAll('rect, circle, text')].map(mark => mark.getBoundingClientRect());
             return marks.filter(box => box.left < frame.left - 1 || box.right > frame.right + 1)
               .concat(marks.filter(box => box.bottom > frame.bottom + 1));
           }).length"""
    )
    assert outside == 0


@pytest.mark.browser
def test_filters_and_search(page):
    assert page.locator("#count").inner_text() == "59 of 60 mentions"
    assert page.locator("article").count() == 25
    page.click("#more")
    assert page.locator("article").count() == 50
    page.select_option("#verdict", "right")
    assert page.locator("article").count() == 1
    page.select_option("#verdict", "")
    page.select_option("#slice", "other")
    assert page.locator("#count").inner_text() == "30 of 60 mentions"
    page.select_option("#rival", "fuzzy name")
    assert page.locator("#count").inner_text() == "2 of 60 mentions"
    page.fill("#search", "SENTENCE m3")
    assert page.locator("article").count() == 1
    page.fill("#search", "nothing like it")
    assert page.locator("article").count() == 0


@pytest.mark.browser
def test_content_of_a_mention(page):
    page.select_option("#verdict", "")
    page.fill("#search", "m7")
    card = page.locator("article")
    assert card.locator("mark").inner_text() == "name"  # behind a sign that JavaScript counts as two
    assert card.locator("ol > li").count() == 6
    assert "e7" in card.locator("li.missed").inner_text()
    assert "attention: picture 75 %, sentence 25 %" in card.inner_text()
    assert "fuzzy name –" in card.inner_text()
    page.fill("#search", "m2")
    assert "No entity fits (NIL)" in page.locator("article").first.inner_text()
    page.fill("#search", "m0")
    assert page.locator("li.gold").count() == 1
    assert page.locator("li.missed").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_layout_fits_the_width(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate("[...document.querySelectorAll('figure')].map(one => [one.scrollWidth, one.clientWidth])")
    assert all(inside <= box for inside, box in boxes)  # a plot is seen whole, without scrolling


def test_markdown_has_every_number_and_no_html(numbers):
    text = markdown(numbers)
    assert "| DIM | 40 | 80.0 [78.0, 82.0] |" in text
    assert "| DIM - fuzzy name | full_kb | H@1 | 3.00 [1.00, 5.00] | 0.0100 |" in text
    assert "## NIL" in text
    assert "## Calibration" in text
    assert "<script" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table


def test_no_text_of_the_data_is_markup_of_the_page(page_file):
    template = (Path(report.__file__).parent / "report.html").read_text(encoding="utf-8")
    text = page_file.read_text(encoding="utf-8")
    assert "window.broken" in text
    assert text.count("<script") == template.count("<script")
    assert text.count("</script") == template.count("</script")
    assert "<img src=x" not in text


def test_json_holds_everything_but_pictures(page_file):
    numbers = json.loads(page_file.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(numbers["examples"]) == 60
    assert PIXEL not in json.dumps(numbers)
    assert numbers["examples"][0]["sentence"].endswith(HOSTILE)


@pytest.mark.browser
def test_a_real_run_opens(tiny_mel_dir, tiny_dim_dir, chromium, tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    settings = Settings(str(tiny_mel_dir), str(tiny_dim_dir), baselines=("fuzzy",), samples=100)
    write_report(evaluate(settings), tmp_path)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        problems = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto((tmp_path / "report.html").as_uri())
        tab.select_option("#verdict", "")
        assert tab.locator("article").count() == 12
        widths = tab.evaluate(
            """Promise.all([...document.images].map(image => {
                 image.loading = "eager"; return image.decode().then(() => image.naturalWidth); }))"""
        )
        assert len(widths) >= 12 * 6
        assert min(widths) >= 20
        assert problems == []
        browser.close()
