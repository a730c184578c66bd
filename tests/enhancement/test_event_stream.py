"""Answers that come as a stream although none was asked for, or behind the comments of a proxy."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dim.enhancement.answers import Question, how_it_ended
from dim.enhancement.clients.answer_body import cost, read_answer
from dim.enhancement.clients.event_stream import parse_answer
from dim.enhancement.clients.server_error import error_within
from dim.enhancement.entity_text import EntityText
from dim.enhancement.prompts import Prompt

TEXT = "Ada Lovelace was a British mathematician."
USAGE = {"prompt_tokens": 50, "completion_tokens": 30}
WHOLE = {"choices": [{"index": 0, "message": {"content": TEXT}, "finish_reason": "stop"}], "usage": USAGE}


def request(api="chat"):
    return Question("m", Prompt("short", "Who is this?"), api).about(EntityText("e1", "Ada"))


def stream(*events, end="\n\n", done=True):
    lines = [f"data: {json.dumps(event)}{end}" for event in events]
    return "".join(lines) + (f"data: [DONE]{end}" if done else "")


def delta(text, finish=None):
    return {"model": "qwen", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


PARTS = (delta("Ada Lovelace was "), delta("a British mathematician."), delta(None, "stop"))


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("before", ["", ": ping\n\n", "\ufeff"])
def test_events_are_joined_to_one_answer_with_its_usage(before, end):
    body = parse_answer(before + stream(*PARTS, {"choices": [], "usage": USAGE}, end=end))
    answer = read_answer(request(), body)
    assert (answer.text, answer.model, answer.finish_reason) == (TEXT, "qwen", "stop")
    assert (answer.input_tokens, answer.output_tokens) == (50, 30)


def test_a_stream_without_usage_costs_the_worst_case():
    assert cost(request(), parse_answer(stream(*PARTS))) == (request().most_tokens, request().most_answer_tokens)


def test_a_stream_that_breaks_off_is_no_whole_answer():
    answer = read_answer(request(), parse_answer(stream(*PARTS[:1], done=False)))
    assert (answer.text, how_it_ended(answer.finish_reason)) == ("Ada Lovelace was", "aborted")


def test_an_error_in_a_stream_is_that_error():
    body = parse_answer(stream(PARTS[0], {"error": {"code": 402, "message": "Insufficient credits"}}))
    assert error_within(body).words == "the server says 402: Insufficient credits"


@pytest.mark.parametrize("content", [f": PROCESSING\n\n{json.dumps(WHOLE)}", stream(WHOLE), json.dumps([WHOLE])])
def test_a_whole_answer_is_found_behind_comments_in_an_event_and_in_a_list(content):
    assert read_answer(request(), parse_answer(content)).text == TEXT


def test_the_last_event_of_a_response_is_the_answer():
    output = [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}]
    events = [
        {"type": "response.created", "response": {"status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", "delta": "Ada"},
        {"type": "response.completed", "response": {"status": "completed", "output": output}},
    ]
    assert read_answer(request("responses"), parse_answer(stream(*events))).text == TEXT
    broken = read_answer(request("responses"), parse_answer(stream(*events[:2])))
    assert (broken.text, how_it_ended(broken.finish_reason)) == ("Ada", "aborted")


NAMES = st.sampled_from(["choices", "delta", "content", "message", "error", "usage", "type", "response", "output"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(st.lists(ANY), st.sampled_from(["chat", "responses"]))
def test_whatever_events_hold_they_are_read_and_cost_at_least_nothing(events, api):
    body = parse_answer(stream(*events))
    error_within(body)
    answer = read_answer(request(api), body)
    assert answer.input_tokens >= 0
    assert answer.output_tokens >= 0


@pytest.mark.parametrize(
    "word, kind",
    [("model_context_window_exceeded", "length"), ("token_limit_reached", "length"), ("max_new_tokens", "length"),
     ("incomplete", "length"), ("ERROR_LIMIT", "length"), ("content_filtered", "content_filter"),
     ("guardrail_intervened", "content_filter"), ("ERROR_TOXIC", "content_filter"), ("IMAGE_SAFETY", "content_filter"),
     ("insufficient_system_resource", "aborted"), ("network_error", "aborted"), ("abort", "aborted"),
     ("eos_token", "eos_token"), ("stop_sequence", "stop_sequence"), ("end_turn", "end_turn"),
     ("COMPLETE", "COMPLETE"), ("stop", "stop"), ("", "")],
)  # fmt: skip
def test_the_words_of_servers_for_the_end_are_known(word, kind):
    assert how_it_ended(word) == kind


@pytest.mark.parametrize("count, said", [("5000", 5000), (5000.0, 5000), (5000.5, 5001), ("5000.0", 5000)])
def test_counts_above_the_bound_are_charged_also_as_floats_and_strings(count, said):
    assert cost(request(), {**WHOLE, "usage": {"prompt_tokens": 50, "completion_tokens": count}}) == (50, said)


@pytest.mark.parametrize("code", [0, 200, "200"])
def test_an_error_that_says_all_is_well_is_none(code):
    assert error_within({**WHOLE, "error": {"code": code, "message": "ok"}}) is None
