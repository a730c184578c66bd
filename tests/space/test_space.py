"""The demo page through its API, its errors, and its publication."""

import json
import os
import re
import uuid
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from huggingface_hub.utils import httpx
from packaging.requirements import Requirement
from picture_server import Server
from picture_server import picture as made_picture
from PIL import Image
from space_fixtures import ENTITIES, HOSTILE, ROOT, SENTENCE, SPACE

pytest_plugins = ("space_fixtures",)


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def handle(path):
    from gradio_client import handle_file

    return handle_file(str(path))


def ids(html):
    """Ids of the cards of the first column."""
    return re.findall(r'data-id="([^"]+)"', html.split("</section>")[0])


def expected(kb_folder, model, entities, picture=None):
    """What a linker says about a knowledge base that was made of these entities."""
    from dim import DIMLinker, KnowledgeBase, load_dim

    kb = KnowledgeBase.create(kb_folder, entities)
    network, processor = load_dim(model)
    kb.encode(network, processor)
    return DIMLinker(network, processor, kb)(SENTENCE, image=picture)


def test_both_rankings_are_the_linkers(client, kb_folder, tiny_dim_dir, tmp_path, picture):
    found = client.predict(SENTENCE, "", handle(picture), api_name="/link")[0]
    columns = [re.findall(r'data-id="([^"]+)"', part) for part in found.split("<section")[1:]]
    scores = [re.findall(r"why: score (-?[\d.]+)", part) for part in found.split("<section")[1:]]
    wanted = [expected(tmp_path / f"kb{n}", tiny_dim_dir, ENTITIES, image) for n, image in enumerate((picture, None))]
    assert columns == [[one.id for one in links] for links in wanted]
    assert scores == [[f"{one.score:.2f}" for one in links] for links in wanted]
    assert "<mark>Turkey</mark> was everywhere" in found
    assert "<script" not in found
    assert "onerror=&#x27;" in found


def test_the_bars_add_up_to_the_score(client, picture):
    for asked in (handle(picture), None):
        html = client.predict(SENTENCE, "", asked, api_name="/link")[0].split("</section>")[0]
        cards = html.split('<li class="dim-card"')[1:]
        assert len(cards) == 3
        for card in cards:
            bars = [float(value) for value in re.findall(r"<em>([+-][\d.]+)</em>", card)]
            [score] = re.findall(r"why: score (-?[\d.]+)", card)
            assert len(bars) == (3 if asked else 2)
            assert sum(bars) == pytest.approx(float(score), abs=0.02)  # two digits each


def test_an_unsure_answer_says_so(monkeypatch):
    monkeypatch.syspath_prepend(str(SPACE))
    from cards import results
    from playground import Answer

    from dim import LinkedEntity, Links

    row = {"sentence": "Turky was everywhere.", "mention": "Turky", "start": 0, "end": 5, "image": None}
    for confidence, unsure in ((0.09, True), (0.91, False)):
        links = Links([LinkedEntity("a", "Turkey", "a country", 1.0, confidence, {"attention": {}})])
        html = results(Answer(row, links, None, {}), [], None)
        assert ("Not sure: the best entity has a confidence of 9.0 %." in html) is unsure


def test_examples_fit_the_knowledge_base(tiny_dim_dir, kb_folder, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    from dim import KnowledgeBase, load_dim

    monkeypatch.syspath_prepend(str(SPACE))
    from playground import Playground

    sample = json.loads((SPACE / "examples" / "examples.json").read_text(encoding="utf-8"))
    shown = Playground(str(tiny_dim_dir), str(kb_folder)).examples(sample)
    assert {one["name"] for one in shown} == {"Turkey", "turkey"}
    tools = [{"id": "1", "name": "torque wrench"}, {"id": "2", "name": "torque wrench"}, {"id": "3", "name": "x" * 99}]
    KnowledgeBase.create(tmp_path / "kb", tools).encode(*load_dim(tiny_dim_dir))
    [own] = Playground(str(tiny_dim_dir), str(tmp_path / "kb")).examples(sample)
    assert own == {"label": "torque wrench", "sentence": "This is about [[torque wrench]].", "picture": ""}


def test_a_picture_alone(client, picture):
    html = client.predict("", "", handle(picture), api_name="/link")[0]
    assert sorted(ids(html)) == ["a", "b", "c"]
    assert "Ranking by the picture alone" in html
    assert "The picture is linked alone." in html
    assert "Without the picture" not in html
    for card in html.split('<li class="dim-card"')[1:]:
        parts = dict(re.findall(r"<span>([a-z ]+)</span><i>.*?<em>([+-][\d.]+)</em>", card))
        [score] = re.findall(r"why: score (-?[\d.]+)", card)
        assert set(parts) == {"picture", "lexical prior"}
        assert sum(map(float, parts.values())) == pytest.approx(float(score), abs=0.02)
        assert card.count('<span class="dim-tag">') == 1  # found by dense search alone


def test_the_nearest_picture_of_an_entity_is_shown(tiny_dim_dir, tmp_path, picture, monkeypatch):
    pytest.importorskip("gradio")
    from dim import KnowledgeBase, load_dim

    monkeypatch.syspath_prepend(str(SPACE))
    from cards import results
    from playground import Playground, data_url

    colours = ["green", "blue", "red"]
    pictures = [Image.new("RGB", (20, 20), colour) for colour in colours]
    for colour, one in zip(colours, pictures, strict=True):
        one.save(tmp_path / f"{colour}.png")
    cells = [{"bytes": (tmp_path / f"{colour}.png").read_bytes(), "path": None} for colour in colours]
    kb = [{"id": "a", "name": "Turkey", "images": cells}, {"id": "b", "name": "turkey", "images": cells[:1]}]
    KnowledgeBase.create(tmp_path / "kb", kb).encode(*load_dim(tiny_dim_dir))
    playground = Playground(str(tiny_dim_dir), str(tmp_path / "kb"))
    for sentence in (SENTENCE, ""):
        answer = playground.link(sentence, "", str(picture))  # red
        assert answer.pictures == {"a": data_url(pictures[2]), "b": data_url(pictures[0])}
        html = results(answer, [], None)
        assert "nearest picture: number 3, similarity 1.00" in html
        assert data_url(pictures[2]) in html
    assert playground.link(SENTENCE, "", None).pictures["a"] == data_url(pictures[0])


def test_mention_in_the_second_box(client):
    inside, _, outside = (
        client.predict(*question, None, api_name="/link")[0]
        for question in ((SENTENCE, ""), ("", "Turkey"), ("It ran away.", "Turkey"))
    )
    same = client.predict("Turkey was everywhere that autumn.", "Turkey", None, api_name="/link")[0]
    assert same == inside
    assert "“Turkey” is not in the sentence" in outside


def test_an_edit_is_linked_at_once_and_taken_back(client, kb_folder, tiny_dim_dir, tmp_path):
    from dim import KnowledgeBase

    first = client.predict(SENTENCE, "", None, api_name="/link")
    texts = ("turkey", "an autumn dinner of very many people")
    edited = client.predict("b", *texts, None, SENTENCE, "", None, api_name="/edit")
    row = ENTITIES[1] | {"name": texts[0], "description": texts[1]}
    links = expected(tmp_path / "kb", tiny_dim_dir, [ENTITIES[0], row, ENTITIES[2]])
    assert ids(edited[0]) == [one.id for one in links]
    assert re.findall(r"why: score (-?[\d.]+)", edited[0]) == [f"{one.score:.2f}" for one in links]
    assert texts[1] in edited[0]
    assert 'role="status"' in edited[4]
    assert "as version" in edited[4]
    assert client.predict("b", api_name="/entity") == texts
    assert KnowledgeBase.open(kb_folder).rows(["b"])["description"].to_pylist() == ["a large bird"]  # a copy changed

    again = client.predict(SENTENCE, "", None, api_name="/reset")
    assert again[0] == first[0]
    assert client.predict("b", api_name="/entity") == ("turkey", "a large bird")


def test_a_new_entity_and_a_new_picture(client, picture):
    client.predict(SENTENCE, "", None, api_name="/link")
    question = (SENTENCE, "", None)
    added = client.predict("", "Turkey", HOSTILE, handle(picture), *question, api_name="/edit")[0]
    assert sorted(ids(added)) == ["a", "b", "c", "new-1"]
    assert added.count("data:image/png;base64,") == 1  # its picture; the others have none
    assert "<script" not in added
    client.predict("", "Turkey", "another", None, *question, api_name="/edit")
    assert client.predict("new-2", api_name="/entity") == ("Turkey", "another")


def test_an_edit_keeps_the_other_fields(tiny_dim_dir, kb_folder, picture, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.syspath_prepend(str(SPACE))
    from playground import Playground

    playground = Playground(str(tiny_dim_dir), str(kb_folder))
    playground.save("c", "Trot", HOSTILE, None)
    playground.save("b", "turkey", "a large bird", str(picture))
    kb = playground.linker.kb
    trot, bird = kb.rows(["c", "b"]).to_pylist()
    assert (trot["name"], trot["extra"], bird["aliases"], bird["type"]) == ("Trot", '{"miles": 3}', ["gobbler"], "bird")
    assert len(bird["images"]) == 1
    assert kb.info()["pending"] == 0
    playground.reset()
    assert kb.rows(["c"])["name"].to_pylist() == ["Turkey Trot"]


@pytest.mark.parametrize(
    "sentence, mention, wanted",
    [
        ("", "", "Type a sentence"),
        ("Turkey was everywhere.", "", "No mention is marked"),
        ("[[]] was everywhere.", "", "double brackets"),
        ("[[ ]] was everywhere.", "", "nothing between the brackets"),
        ("[[Turkey]] and [[Kiwi]].", "", "2 mentions are marked"),
        (SENTENCE, "Turkey", "marked twice"),
        ("x" * 2001, "", "at most 2,000"),
        ("x", "y" * 201, "at most 200"),
        (f"{HOSTILE}", "", "No mention is marked"),
    ],
)
def test_bad_texts_get_one_clear_line(client, sentence, mention, wanted):
    told = client.predict(sentence, mention, None, api_name="/link")[0]
    assert wanted in told
    assert 'role="alert"' in told
    assert "Traceback" not in told
    assert "<script" not in told


@pytest.mark.parametrize(
    "name, content, wanted",
    [("text.png", b"hello", "is not a picture"), ("empty.png", b"", "is empty"), ("a.svg", b"<svg></svg>", "SVG"),
     ("cut.png", None, "truncated"), ("large.png", "large", "pixels")],
)  # fmt: skip
def test_bad_pictures_get_one_clear_line(client, tmp_path, name, content, wanted):
    path = tmp_path / name
    if content == "large":
        Image.new("1", (6000, 5000)).save(path)
    elif content is None:
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:-900])
    else:
        path.write_bytes(content)
    told = client.predict(SENTENCE, "", handle(path), api_name="/link")[0]
    assert wanted in told
    assert name in told
    assert "/" not in re.sub(r"</?p|jpe?g/", "", told)  # no folder of this machine
    client.predict(SENTENCE, "", None, api_name="/link")
    said = client.predict("a", "Turkey", "x", handle(path), SENTENCE, "", None, api_name="/edit")
    assert wanted in said[4]
    assert client.predict("a", api_name="/entity") == ("Turkey", "a country")


# ------------------------------------------------------------------------------------------------- files of the machine

SECRET = Image.effect_noise((64, 64), 50)


def events(url, api_name, data):
    """What an HTTP client that is not gradio's gets: the answer to its request, or the event stream."""
    asked = httpx.post(f"{url}/gradio_api/call/{api_name}", json={"data": data}, timeout=60)
    if asked.status_code != 200:
        return asked.text
    return httpx.get(f"{url}/gradio_api/call/{api_name}/{asked.json()['event_id']}", timeout=60).text


def queued(url, fn_index, data):
    """The same by the queue of the page, which also reaches the events without a name."""
    asked = {"data": data, "fn_index": fn_index, "session_hash": uuid.uuid4().hex}
    answer = httpx.post(f"{url}/gradio_api/queue/join", json=asked, timeout=60)
    if answer.status_code != 200:
        return answer.text
    found = ""
    with httpx.stream("GET", f"{url}/gradio_api/queue/data?session_hash={asked['session_hash']}", timeout=60) as lines:
        for line in lines.iter_lines():
            found += line
            if "process_completed" in line:
                return found
    return found


def uploaded(url, path):
    with path.open("rb") as file:
        return httpx.post(f"{url}/gradio_api/upload", files={"files": (path.name, file)}, timeout=60).json()[0]


@pytest.fixture
def private(tmp_path, url):
    """Files of the machine that no client may see, by the path that a client would name."""
    SECRET.save(tmp_path / "private.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "private.png")
    received = Path(uploaded(url, tmp_path / "private.png"))
    inside = received.parent / "inside.png"  # a link within the upload folder to a file outside of it
    inside.symlink_to(tmp_path / "private.png")
    parents = "../" * len(received.parts)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    yield {
        "png": str(tmp_path / "private.png"), "link": str(tmp_path / "link.png"), "link inside": str(inside),
        "parents": f"{received.parent}/{parents}{tmp_path}/private.png", "passwd": "/etc/passwd", "zero": "/dev/zero",
        "pipe": str(pipe), "folder": str(received.parent), "descriptor": "/proc/self/fd/0", "missing": "/no/such.png",
        "relative": "space/examples/turkey.png", "file URL": f"file://{tmp_path}/private.png", "null": "a\0.png",
        "long": "x" * 5000, "empty": "", "http URL": "http://127.0.0.1:9/a.png", "data URL": "data:image/png;base64,AA",
        "home": "~/a.png",
    }  # fmt: skip
    inside.unlink()


QUESTIONS = {
    "link": lambda picture: ("link", [SENTENCE, "", picture]),
    "edit": lambda picture: ("edit", ["a", "Turkey", "a country", None, SENTENCE, "", picture, None]),
    "edit, new picture": lambda picture: ("edit", ["a", "Turkey", "a country", picture, SENTENCE, "", None, None]),
    "reset": lambda picture: ("reset", [SENTENCE, "", picture]),
}
REFUSED = "The picture did not arrive as a file: upload it."


@pytest.mark.parametrize("question", QUESTIONS)
def test_files_of_the_machine_are_not_opened(url, client, private, question):
    for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
        own = uploaded(url, Path(private["png"]))
        told = events(url, *QUESTIONS[question]({"path": own, **meta}))
        assert "data:image/png;base64," in told
        client.predict(SENTENCE, "", None, api_name="/reset")  # without the new picture
        kinds = set(private) if question == "link" else {"png", "passwd", "zero", "link inside"}
        if meta:
            kinds -= {"null", "long"}  # gradio itself fails on these
        for kind in sorted(kinds):
            path = private[kind]
            told = events(url, *QUESTIONS[question]({"path": path, **meta}))
            assert "data:image" not in told, kind
            assert "Traceback" not in told
            gradios = meta and kind != "http URL" and "event: error" in told  # it refuses these first
            assert REFUSED in told or gradios, (kind, told)


def test_events_without_a_name_open_no_files_either(url, private):
    config = httpx.get(f"{url}/config").json()
    handlers = [one for one in config["dependencies"] if len(one["inputs"]) >= 3]
    assert len(handlers) >= 4
    for one in handlers:
        kinds = {block["id"]: block["type"] for block in config["components"]}
        assert "image" in {kinds[number] for number in one["inputs"]}
        for path in (private["png"], "/etc/passwd"):
            data = [{"path": path} if kinds[number] == "image" else "x" for number in one["inputs"]]
            told = queued(url, one["id"], data)
            assert "data:image" not in told
            assert "process_completed" in told or "error" in told
            assert "Traceback" not in told


def test_no_url_is_fetched(url):
    server = Server()
    served = server.serve("/a.png", made_picture())
    for question in QUESTIONS.values():
        for given in ({"path": served}, {"url": served}, {"path": "/a.png", "url": served}, {"path": f"file={served}"}):
            for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
                assert "data:image" not in events(url, *question(given | meta))
    assert server.seen == []
    server.stop()


@pytest.mark.parametrize(
    "picture", ["/etc/passwd", ["/etc/passwd"], {"url": "http://127.0.0.1:9/a.png"}, 3, {"path": 3}]
)
def test_other_types_of_pictures_are_refused(url, picture):
    told = events(url, "link", [SENTENCE, "", picture])
    assert "data:image" not in told
    assert REFUSED in told or "error" in told
    assert "Traceback" not in told


def test_an_entity_needs_a_name(client):
    client.predict(SENTENCE, "", None, api_name="/link")
    assert "name is empty" in client.predict("a", " ", "x", None, SENTENCE, "", None, api_name="/edit")[4]


def test_an_unknown_entity_is_told(client):
    told = client.predict("gone", "Turkey", "x", None, SENTENCE, "", None, api_name="/edit")[4]
    assert "The entity &#x27;gone&#x27; no longer exists" in told


def test_files_of_the_machine_are_not_read(client):
    """A client may not name a file of the server as its picture."""
    url = client.src.rstrip("/")
    picture = {"path": str(ROOT / "LICENSE"), "meta": {"_type": "gradio.FileData"}}
    started = httpx.post(f"{url}/gradio_api/call/link", json={"data": [SENTENCE, "", picture]})
    told = httpx.get(f"{url}/gradio_api/call/link/{started.json()['event_id']}", timeout=60).text
    assert "event: error" in told
    assert "Apache License" not in told


@pytest.mark.parametrize(
    "arguments, wanted", [([], "There is no model"), (["--model", "nowhere", "--kb", "nothing"], "nothing")]
)
def test_bad_arguments(arguments, wanted, monkeypatch, capsys):
    pytest.importorskip("gradio")
    pytest.importorskip("lancedb")
    monkeypatch.syspath_prepend(str(SPACE))
    for name in ("DIM_MODEL", "DIM_KB", "DIM_REVISION"):
        monkeypatch.delenv(name, raising=False)
    from app import main

    assert main(arguments) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert wanted in line


# ------------------------------------------------------------------------------------------------- what is published


def test_the_space_can_be_pushed():
    from dim.publishing.space import space_publication

    files = {one.path: one for one in space_publication(SPACE, "org/dim-demo").files}
    assert {"app.py", "playground.py", "cards.py", "style.css", "requirements.txt"} <= files.keys()
    assert sum(one.size for one in files.values()) < 100_000
    examples = json.loads(files["examples/examples.json"].read())
    pictures = {one["picture"] for one in examples} - {""}
    assert pictures == {name for name in files if name.endswith(".png")}
    card = files["README.md"].read().decode()
    assert all(f"`{Path(name).name}`" in card for name in pictures)  # each with its licence


def test_versions_of_the_space():
    head = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    try:
        assert head["sdk_version"] == metadata.version("gradio")
    except metadata.PackageNotFoundError:
        pytest.skip("needs gradio")
    [line] = (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert Requirement(line).name == "dim-mel"
