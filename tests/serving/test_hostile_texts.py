"""The service with texts that are made to cost time: it answers them soon, and others meanwhile."""

import concurrent.futures
import time

import httpx2 as httpx
import pytest
from serving_server import make, serving

SENTENCES = [
    "[" * 20_000,
    "[[a]]" + "[[" * 9_997,
    "[[a\n" * 5_000,
    "[[a]]" + "\u05b4\u05b0" * 9_990,
    "[[" + "a" * 19_000 + "]]",
    "[[" + "(" * 19_000 + "]]",
    "[[a]] (1234" + "-" * 19_000,
    "[[a]]" + " " * 19_000 + "x",
]
MENTIONS = [
    {"sentence": "a" * 20_000, "mention": "a" * 1_000},
    {"sentence": "a " * 10_000, "mention": "a"},
    {"sentence": "🇫" * 20_000, "mention": "🇫"},
    {"sentence": "C" + "+" * 19_000, "mention": "C"},
    {"sentence": "a" + "\u0301\u0323" * 9_000, "mention": "a\u0323\u0301", "start": 0, "end": 18_001},
    {"sentence": "a " * 10_000, "mention": "a b", "start": 0, "end": 20_000},
]


@pytest.fixture(scope="module")
def url(tiny_dim_dir, tmp_path_factory):
    with serving(*make(tmp_path_factory.mktemp("serving"), tiny_dim_dir), "--device", "cpu", token="t") as server:
        yield server.url


def watched(url, post):
    """Response of a request, its seconds, and the longest time that `/health` took meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool, httpx.Client(base_url=url, timeout=60) as client:
        client.get("/health")
        started, longest = time.perf_counter(), 0.0
        asked = pool.submit(post)
        while not asked.done():
            before = time.perf_counter()
            assert client.get("/health").status_code == 200
            longest = max(longest, time.perf_counter() - before)
        return asked.result(), time.perf_counter() - started, longest


@pytest.mark.parametrize(
    "mentions",
    [*([{"sentence": text}] for text in SENTENCES), *([one] for one in MENTIONS), [MENTIONS[3]] * 64],
    ids=lambda mentions: f"{len(mentions)} x {mentions[0]['sentence'][:8]!a}",
)
def test_a_long_sentence_delays_nobody(url, mentions):
    answer, seconds, longest = watched(url, lambda: httpx.post(f"{url}/link", json={"mentions": mentions}, timeout=60))
    assert answer.status_code in (200, 422)
    assert seconds < 15
    assert longest < 0.5


def test_a_description_of_brackets_and_hyphens_delays_no_link(url):
    entity = {"name": "Amber hostile", "description": "(1234" + "-" * 19_000}
    headers = {"Authorization": "Bearer t"}
    put, _, longest = watched(url, lambda: httpx.put(f"{url}/entities/h1", json=entity, headers=headers, timeout=60))
    assert put.status_code in (200, 201)
    assert longest < 0.5
    asked = {"mentions": [{"sentence": "We saw [[Amber hostile]]."}]}
    answer, seconds, longest = watched(url, lambda: httpx.post(f"{url}/link", json=asked, timeout=60))
    assert answer.json()["results"][0]["entities"][0]["name"]
    assert seconds < 5
    assert longest < 0.5
