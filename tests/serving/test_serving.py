"""The HTTP API of a service in its own process."""

import asyncio
import base64
import json
import re
import urllib.parse

import httpx2 as httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_server import ENTITIES, TOKEN, WORDS, data_url, error_of, make, png, serving

from dim import DIMLinker

WRITER = {"Authorization": f"Bearer {TOKEN}"}
EXAMPLES = 12  # requests of each operation
TOLERANCE = 1e-4  # of scores and confidences: the batch changes the last bits of float32


@pytest.fixture(scope="module")
def folders(tiny_dim_dir, tmp_path_factory):
    return make(tmp_path_factory.mktemp("serving"), tiny_dim_dir)


@pytest.fixture(scope="module")
def linker(folders):
    return DIMLinker.from_pretrained(*folders, device="cpu")


@pytest.fixture(scope="module")
def server(folders):
    with serving(*folders, "--device", "cpu", token=TOKEN) as found:
        yield found


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made


def linked(client, *mentions, **options):
    """The results of a request."""
    answer = client.post("/link", json={"mentions": list(mentions), **options})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def equal(result, links):
    """Checks that an answer is the linker's, up to the tolerance."""
    expected = links.to_dict()["entities"]
    assert [entity["id"] for entity in result["entities"]] == [entity["id"] for entity in expected]
    for entity, other in zip(result["entities"], expected, strict=True):
        assert entity["score"] == pytest.approx(other["score"], abs=TOLERANCE)
        assert entity["confidence"] == pytest.approx(other["confidence"], abs=TOLERANCE)
        assert {**entity, "score": 0, "confidence": 0} == {**other, "score": 0, "confidence": 0}


# ----------------------------------------------------------------------------------------------------------- answers


def test_health_and_documentation(client, folders):
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["model"] == folders[0].name  # without the folders above
    assert health["entities"] >= len(ENTITIES)
    assert client.get("/docs").status_code == 200
    assert client.get("/health").headers["x-content-type-options"] == "nosniff"


def test_ways_to_ask(client, linker):
    red, blue = png("red"), png("blue")
    questions = [
        ({"sentence": "We saw [[Amber]] here."}, ("We saw [[Amber]] here.",)),
        ({"sentence": "We saw Amber here.", "mention": "Amber"}, ("We saw Amber here.", "Amber")),
        ({"sentence": "", "mention": "Coral"}, ("", "Coral")),
        ({"sentence": "Jade", "mention": "Jade", "images": [data_url(red)]}, ("Jade", "Jade", red)),
        ({"sentence": "[[Jade]]", "images": [data_url(red), data_url(blue)]}, ("[[Jade]]", None, [red, blue])),
    ]  # fmt: skip
    for mention, arguments in questions:
        [result] = linked(client, mention, k=3)
        equal(result, linker(*arguments, k=3))
    [by_span] = linked(client, {"sentence": "We saw Amber here.", "start": 7, "end": 12})
    assert (by_span["mention"], by_span["start"], by_span["end"]) == ("Amber", 7, 12)
    equal(by_span, linker("We saw Amber here.", span=(7, 12)))
    both = linked(client, questions[0][0], questions[3][0], k=64)
    for result, (_, arguments) in zip(both, (questions[0], questions[3]), strict=True):
        equal(result, linker(*arguments, k=64))


def test_why(client, linker):
    [result] = linked(client, {"sentence": "[[Amber]]", "images": [data_url(png())]}, k=2, why=True)
    expected = linker("[[Amber]]", image=png(), k=2, why=True)
    assert [entity["id"] for entity in result["entities"]] == [entity.id for entity in expected]
    why = result["entities"][0]["why"]
    assert why["found_by"] == expected[0].why["found_by"]
    assert why["without_picture"] == pytest.approx(expected[0].why["without_picture"], abs=TOLERANCE)


def test_pictures_alone_and_regions(client, linker):
    red, blue = png("red"), png("blue", 40, 30)
    one, two = data_url(red), data_url(blue)
    questions = [
        ({"images": [one]}, {"image": red}),
        ({"images": [one], "sentence": " ", "mention": ""}, {"image": red}),
        ({"images": [one, two], "start": -1, "end": -1}, {"image": [red, blue]}),
        ({"images": [two], "region": [0, 10, 20.0, 30]}, {"image": blue, "region": (0, 10, 20, 30)}),
        ({"images": [two], "region": [5, 5, 6, 6], "sentence": "[[Jade]]"},
         {"text": "[[Jade]]", "image": blue, "region": (5, 5, 6, 6)}),
    ]  # fmt: skip
    for mention, arguments in questions:
        [result] = linked(client, mention, k=3)
        equal(result, linker(**arguments, k=3))
    together = linked(client, *(mention for mention, _ in questions), k=3)
    for result, (_, arguments) in zip(together, questions, strict=True):
        equal(result, linker(**arguments, k=3))
    assert (together[0]["mention"], together[0]["start"], together[0]["end"]) == ("", -1, -1)
    request = {"mentions": [{"images": ["upload:a"], "region": [0, 0, 9, 9]}]}
    answer = client.post("/link", data={"request": json.dumps(request)}, files={"a": ("a.png", red)})
    equal(answer.json()["results"][0], linker(image=red, region=(0, 0, 9, 9)))


def test_why_names_the_nearest_picture(client, linker):
    pictures = [data_url(png(colour)) for colour in ("green", "blue", "red")]
    entity = {"name": "Zircon", "images": pictures}
    assert client.put("/entities/z", json=entity, headers=WRITER).status_code == 201
    try:
        [result] = linked(client, {"sentence": "[[Zircon]]", "images": [pictures[1]]}, k=1, why=True)
        [alone] = linked(client, {"images": [pictures[2]]}, k=64, why=True)
    finally:
        assert client.delete("/entities/z", headers=WRITER).status_code == 204
    assert result["entities"][0]["why"]["nearest_picture"] == {"index": 1, "similarity": pytest.approx(1, abs=1e-3)}
    [why] = [one["why"] for one in alone["entities"] if one["id"] == "z"]
    assert (why["nearest_picture"]["index"], why["found_by"]) == (2, ["dense"])
    assert "without_picture" not in why


def test_multipart(client, linker):
    asked = {
        "mentions": [
            {"sentence": f"[[{word}]]", "images": [f"upload:{part}"]} for word, part in (("Amber", "a"), ("Jade", "b"))
        ]
    }
    parts = {"a": ("a.png", png("red")), "b": ("b.png", png("blue"))}
    answer = client.post("/link", data={"request": json.dumps(asked)}, files=parts)
    assert answer.status_code == 200, answer.text
    for result, (word, colour) in zip(answer.json()["results"], (("Amber", "red"), ("Jade", "blue")), strict=True):
        equal(result, linker(f"[[{word}]]", image=png(colour)))


def test_64_concurrent_clients_get_their_own_answers(server, linker, client):
    """Every client sends another sentence, so that a swapped answer fails."""
    sentences = [f"Number {row} of the [[{WORDS[row % 10]} number {row}]] stones." for row in range(64)]
    expected = [linker(sentence, k=4) for sentence in sentences]
    before = batches(client)

    async def ask():
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=64)) as many:

            async def one(row):
                found = []
                for _ in range(3):
                    body = {"mentions": [{"sentence": sentences[row]}], "k": 4}
                    found.append(await many.post("/link", json=body))
                return found

            return await asyncio.gather(*(one(row) for row in range(64)))

    for answers, links in zip(asyncio.run(ask()), expected, strict=True):
        for answer in answers:
            assert answer.status_code == 200, answer.text
            equal(answer.json()["results"][0], links)
    mentions, count = (now - then for now, then in zip(batches(client), before, strict=True))
    assert mentions == 192
    assert count < 192 / 2  # they were linked together


def batches(client):
    """Mentions linked so far, and in how many batches."""
    found = {sample.name: sample.value for sample in samples(client)}
    return found["dim_batch_mentions_sum"], found["dim_batch_mentions_count"]


def samples(client):
    text = client.get("/metrics").text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


# ---------------------------------------------------------------------------------------------------------- entities


@pytest.mark.parametrize("name", ["Q1", "http://some.org/entity/1?a=b", 'it\'s "Ø" %2F #1'])
def test_the_next_request_sees_a_change(client, name):
    path = "/entities/" + "".join(f"%{byte:02X}" for byte in name.encode())
    given = {"name": "Zeolite", "aliases": ["boiling stone"], "description": "it swells", "extra": {"a": [1, None]},
             "images": [data_url(png())]}  # fmt: skip
    assert error_of(client.get(path))[:2] == (404, "not_found")
    added = client.put(path, json=given, headers=WRITER)
    assert added.status_code == 201, added.text
    [result] = linked(client, {"sentence": "[[Zeolite]]"}, k=64)
    assert name in [entity["id"] for entity in result["entities"]]
    found = client.get(path).json()
    assert found["id"] == name
    assert {field: found["entity"][field] for field in given if field != "images"} == {
        field: value for field, value in given.items() if field != "images"
    }
    assert base64.b64decode(found["entity"]["images"][0].partition(",")[2]) == png()
    assert client.put(path, json=found["entity"], headers=WRITER).status_code == 200
    changed = {**found["entity"], "name": "Quartz"}
    assert client.put(path, json=changed, headers=WRITER).json()["entity"] == changed
    [result] = linked(client, {"sentence": "[[Zeolite]]"}, k=64)
    assert {entity["id"]: entity["name"] for entity in result["entities"]}[name] == "Quartz"
    assert client.delete(path, headers=WRITER).status_code == 204
    [result] = linked(client, {"sentence": "[[Zeolite]]"}, k=64)
    assert name not in [entity["id"] for entity in result["entities"]]
    assert error_of(client.delete(path, headers=WRITER))[:2] == (404, "not_found")


def test_put_encodes_as_the_knowledge_base_does(client, linker):
    entity = {"name": "Amber number 0", "description": "a stone of amber, the 0th"}  # another's text, so its vector
    assert client.put("/entities/twin", json=entity, headers=WRITER).status_code == 201
    assert linker.kb.refresh()
    mine, other = linker.kb.vectors([linker.kb.row_of[name] for name in ("twin", "e0")])
    assert mine.tolist() == pytest.approx(other.tolist(), abs=1e-5)
    assert None not in linker.kb.encoders()
    assert client.delete("/entities/twin", headers=WRITER).status_code == 204


@pytest.mark.parametrize("given", [None, "Bearer let me", TOKEN, "Basic bGV0IG1lIGlu", "Bearer lét".encode()])
def test_changes_need_the_token(client, given):
    given = {} if given is None else {"Authorization": given}
    before = client.get("/entities/e0").json()
    for answer in (
        client.put("/entities/e0", json={"name": "x"}, headers=given),
        client.delete("/entities/e0", headers=given),
    ):
        assert error_of(answer)[:2] == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    assert client.get("/entities/e0").json() == before


@pytest.mark.parametrize("body, message", [
    ({}, "name: Field required"),
    ({"name": "a", "id": "b"}, "id: Extra inputs"),
    ({"name": "  "}, "field 'name': it is empty"),
    ({"name": "a", "images": ["data:;base64,AAAA"]}, "'images.0': is not a picture"),
    ({"name": "a", "images": ["conftest.py"]}, r"images\.0: a picture must be a data URL"),
    ({"name": "a", "images": ["file:///etc/hostname"]}, r"images\.0: a picture must be a data URL"),
    ({"name": "a", "images": ["http://127.0.0.1/a.png"]}, r"images\.0: this service does not fetch URLs"),
    ({"name": "a", "description": "a" * 20_001}, "description: String should have at most 20000"),
])  # fmt: skip
def test_entities_that_are_refused(client, body, message):
    status, code, told = error_of(client.put("/entities/new", json=body, headers=WRITER))
    assert (status, code) == (422, "invalid")
    assert re.search(message, told)
    assert client.get("/entities/new").status_code == 404


DATA_URL_FORMS = {
    "lines": lambda content: base64.encodebytes(content).decode(),
    "CRLF and a space": lambda content: " " + base64.encodebytes(content).decode().replace("\n", "\r\n"),
    "percent-encoded": lambda content: urllib.parse.quote(base64.b64encode(content), safe=""),
    "URL-safe without padding": lambda content: base64.urlsafe_b64encode(content).decode().rstrip("="),
}


@pytest.mark.parametrize("form", DATA_URL_FORMS)
def test_data_urls_of_every_form(client, form):
    url = "data:image/png;name=a.png; BASE64," + DATA_URL_FORMS[form](png())
    plain = client.post("/link", json={"mentions": [{"sentence": "[[Jade]]", "images": [data_url(png())]}]})
    answer = client.post("/link", json={"mentions": [{"sentence": "[[Jade]]", "images": [url]}]})
    assert (answer.status_code, answer.json()["results"]) == (200, plain.json()["results"])
    assert client.put("/entities/form", json={"name": "a", "images": [url]}, headers=WRITER).status_code == 201
    [stored] = client.get("/entities/form").json()["entity"]["images"]
    assert base64.b64decode(stored.partition(",")[2]) == png()
    assert client.delete("/entities/form", headers=WRITER).status_code == 204
    raw = "data:image/png," + urllib.parse.quote_from_bytes(png())
    answer = client.post("/link", json={"mentions": [{"sentence": "[[Jade]]", "images": [raw]}]})
    assert answer.json()["results"] == plain.json()["results"]


# ---------------------------------------------------------------------------------------------------------- OpenAPI


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_responses_match_the_openapi_document(server, mode):
    """Valid and invalid requests generated from the document get no 5xx, and only documented responses."""
    schema = schemathesis.openapi.from_url(server.url + "/openapi.json")
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    asked = []
    for operation in (found.ok() for found in schema.get_all_operations()):
        if mode.is_negative and not (operation.path_parameters or operation.body):
            continue  # there is no invalid request

        @given(case=operation.as_strategy(mode))
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def ask(case):
            asked.append(case.call_and_validate(headers=WRITER, checks=checks).status_code)

        ask()
    assert len(asked) > EXAMPLES
    assert (200 in asked) if mode.is_positive else (422 in asked)


def test_two_spellings_of_an_accent_are_one_entity(client):
    one, other = "Caf%C3%A9", "Cafe%CC%81"
    assert client.put(f"/entities/{other}", json={"name": "one"}, headers=WRITER).status_code == 201
    assert client.put(f"/entities/{one}", json={"name": "two"}, headers=WRITER).status_code == 200
    assert client.get(f"/entities/{other}").json()["entity"]["name"] == "two"
    assert client.delete(f"/entities/{other}", headers=WRITER).status_code == 204
