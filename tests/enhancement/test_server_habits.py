"""What servers that speak OpenAI's API really send: by each interface, the outcome and the money are right."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai_stub import KEY, OpenAIStub, description
from PIL import Image
from server_habits import HABITS

from dim.enhancement.answers import UNREADABLE, Question
from dim.enhancement.budget import Prices
from dim.enhancement.clients.answer_body import cost, parse_body, read_answer
from dim.enhancement.clients.batch_lines import answer_of, results
from dim.enhancement.clients.client import EndpointError
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.enhancement.enhance import enhance
from dim.enhancement.entity_text import EntityText
from dim.enhancement.prompts import load_prompt
from dim.experts.expert import UnansweredError
from dim.experts.openai_compatible import OpenAIExpert

PEOPLE = [EntityText(f"e{n}", f"Ada {n}", f"person number {n}") for n in range(3)]
REASON = {"cut off": "cut off: ", "refused": "refused: ", "unreadable": "unreadable: "}


@pytest.fixture(scope="module")
def server():
    stub = OpenAIStub()
    yield stub
    stub.stop()


@pytest.fixture
def stub(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script, server.spent = {}, (0, 0)
    server.requests.clear()
    server.batches.clear()
    return server


def run(stub, ledger, how: str):
    question = Question("m", load_prompt("paper"), "responses" if how == "responses" else "chat")
    client = OpenAIClient(stub.url, tries=3, backoff=0, timeout=10)
    return enhance(PEOPLE, question, client, ledger, batch=how == "batch", poll_seconds=0.01, concurrency=1)


@pytest.mark.parametrize("how", ["chat", "responses", "batch"])
@pytest.mark.parametrize("habit", HABITS, ids=str)
def test_a_habit_costs_what_it_costs_and_concerns_one_entity(stub, ledger, tmp_path, how, habit):
    good = [description({"id": one.id, "name": one.name}) for one in PEOPLE]
    stub.script = {"e1": [habit.play] * (1 if habit.outcome == "passes" else 9)}
    if habit.outcome == "stops" and how != "batch":
        with pytest.raises(EndpointError) as stopped:
            run(stub, ledger, how)
        assert KEY not in str(stopped.value)
        assert "\n" not in str(stopped.value)
        assert stub.entities == ["e0", "e1"]
        kept = {}
    else:
        result = run(stub, ledger, how)
        kept = {one.id: one.reason for one in result.kept}
        assert [row["description"] for row in result.descriptions] == [
            good[n] for n in (0, 1, 2) if f"e{n}" not in kept
        ]
        assert result.asked + result.failed + result.refused + result.not_asked == len(PEOPLE)
        if how == "batch" and habit.outcome in ("passes", "stops"):
            assert kept["e1"].startswith("the server says: ")  # the next run asks again
            assert KEY not in kept["e1"]
        elif habit.outcome in ("kept", "passes"):
            assert kept == {}
        else:
            assert kept["e1"].startswith(REASON[habit.outcome]), kept
    charged, others = ledger.tokens(), (50 * 2, 30 * 2) if kept or habit.outcome != "stops" else (50, 30)
    spent = [mine + theirs for mine, theirs in zip(stub.spent, others, strict=True)]
    if habit.outcome == "passes" and how != "batch":
        spent = [spent[0] + 50, spent[1] + 30]
    assert charged[0] >= spent[0], "the request was paid for"
    assert charged[1] >= spent[1], "the answer was paid for"
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert KEY.encode() not in files
    if habit.outcome in ("cut off", "unreadable"):
        before = len(stub.requests), len(stub.batches)
        assert run(stub, ledger, how).asked == 0
        assert (len(stub.requests), len(stub.batches)) == before


@pytest.mark.parametrize("habit", HABITS, ids=str)
def test_a_habit_concerns_one_picture(stub, habit):
    stub.script = {"Who is 1?": [habit.play] * (1 if habit.outcome == "passes" else 9)}
    expert = OpenAIExpert("m", stub.url)
    expert.client = OpenAIClient(stub.url, tries=3, backoff=0)
    prompts = [f"Who is {n}?" for n in range(3)]
    good = [description({"id": prompt, "name": prompt}) for prompt in prompts]
    pictures = [Image.new("RGB", (4, 4))] * 3
    if habit.outcome in ("kept", "passes"):
        assert expert.answer(pictures, prompts, batch_size=1) == good
        return
    with pytest.raises(UnansweredError) as missing:
        expert.answer(pictures, prompts, batch_size=1)
    assert missing.value.ends_run == (habit.outcome == "stops")
    answers = missing.value.answers
    assert answers[0] == good[0]
    assert answers[2] == good[2] or habit.outcome == "stops"
    assert answers[1].kind == ("failed" if habit.outcome == "stops" else habit.outcome)
    assert KEY not in answers[1].reason + str(missing.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
COUNT = st.sampled_from([30, 30, 30, 0, -1, None, 30.0, "30", True, 10**30, float("inf"), float("nan"), [], {}])
FIELDS = ("choices", "usage", "model", "id", "object", "output", "status", "error")


@st.composite
def shapes(draw):
    """An answer about which 50 and 30 tokens were spent, as a server may spoil it."""
    text = draw(st.sampled_from(["A British mathematician.", "", None, "A\u2028B \ud800", "x<|im_end|>"]) | JSON)
    choice = {"index": 0, "finish_reason": draw(st.sampled_from(["stop", "length", None, "SAFETY"]) | JSON)}
    choice["message"] = draw(st.just({"role": "assistant", "content": text}) | JSON)
    usage = {"prompt_tokens": draw(COUNT), "completion_tokens": draw(COUNT), "total_tokens": draw(COUNT)}
    usage = {name: 50 if name == "prompt_tokens" and value == 30 else value for name, value in usage.items()}
    body = {"model": draw(st.just("m") | JSON), "choices": [choice], "usage": draw(st.just(usage) | st.just({}))}
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        body[name] = draw(st.none() | JSON) if name != "usage" else draw(st.none() | st.text(max_size=5))
    for name in draw(st.lists(st.sampled_from(list(body)), max_size=2)):
        body.pop(name, None)
    content = json.dumps(body).encode()
    return content[: draw(st.sampled_from([len(content)] * 4 + [len(content) // 2]))]


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shapes(), st.sampled_from(["chat", "responses"]))
def test_whatever_an_answer_looks_like_it_is_charged_at_least_its_cost(content, api):
    request = Question("m", load_prompt("paper"), api).about(PEOPLE[0])
    body = parse_body(content)
    inputs, outputs = cost(request, body)
    assert 50 <= inputs <= 10**9
    assert isinstance(outputs, int)
    said = body.get("usage") if isinstance(body, dict) else None
    is_zero = isinstance(said, dict) and said.get("completion_tokens") == 0 and not isinstance(said, bool)
    assert outputs >= (0 if is_zero else 30)
    answer = read_answer(request, body, content.decode())
    assert (answer.input_tokens, answer.output_tokens) == (inputs, outputs)
    assert answer.finish_reason != UNREADABLE or not answer.text
    json.dumps(answer.usage, allow_nan=False)
    answer.model.encode()
    line = json.dumps({"custom_id": request.key, "response": {"status_code": 200, "body": content.decode()}}).encode()
    (row,) = results(line, {request.key})
    assert answer_of(row, request)[1] == (inputs, outputs)


def test_random_shapes_never_cost_more_than_the_bound_and_each_entity_is_accounted_for(stub, ledger):
    """Some of the shapes end to end, with a budget that they exceed."""
    found = []

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(shapes())
    def collect(content):
        found.append(content)

    collect()
    people = [EntityText(f"e{n}", f"Ada {n}", "A person.") for n in range(len(found))]
    for one, content in zip(people, found, strict=True):
        stub.script[one.id] = [lambda body, good, content=content: (200, content)] * 9
    prices, question = Prices(1000, 1000), Question("m", load_prompt("paper"))
    for _ in range(2):
        try:
            result = enhance(
                people, question, OpenAIClient(stub.url, tries=2, backoff=0), ledger, prices=prices, max_cost=20.0
            )
        except EndpointError:
            continue  # a shape that says so
        assert result.asked + result.failed + result.refused + result.not_asked + len(ledger.keys()) >= len(people)
        assert len(result.descriptions) + len(result.kept) == len(people)
    assert prices.cost(*stub.spent) <= 20.0
    assert all(charged >= spent for charged, spent in zip(ledger.tokens(), stub.spent, strict=True))
