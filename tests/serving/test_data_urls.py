"""Data URLs in every form that the standard has, and what is refused."""

import base64
import contextlib
import doctest
import importlib
import time
import tracemalloc
import urllib.parse
import urllib.request

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dim.serving.data_urls import data_of_url
from dim.serving.refusals import ServiceError
from dim.serving.request_pictures import _data

CONTENT = bytes(range(256)) * 3 + b"\xfb\xff\xfe"
PLAIN = base64.b64encode(CONTENT).decode()
FORMS = {
    "plain": PLAIN,
    "lines of 76": base64.encodebytes(CONTENT).decode(),
    "CRLF": base64.encodebytes(CONTENT).decode().replace("\n", "\r\n"),
    "tabs and form feeds": PLAIN[:9] + "\t\f" + PLAIN[9:],
    "a space behind the comma": " " + PLAIN,
    "spaces at the end": PLAIN + "  ",
    "percent-encoded": urllib.parse.quote(PLAIN, safe=""),
    "percent-encoded lines": urllib.parse.quote(base64.encodebytes(CONTENT).decode(), safe=""),
    "every byte percent-encoded": "".join(f"%{ord(one):02x}" for one in PLAIN),
    "URL-safe": base64.urlsafe_b64encode(CONTENT).decode(),
    "both alphabets": PLAIN.replace("+", "-", 1),
    "without padding": PLAIN.rstrip("="),
}
HEADS = ["data:image/png;base64", "data:;base64", "DATA:image/png;BASE64", "data:image/png;charset=utf-8;base64",
         "data:image/png; base64", "data:image/png;name=a;base64 ", " data:image/png;base64"]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", HEADS)
def test_base64_in_every_form(head, form):
    assert data_of_url(f"{head},{FORMS[form]}") == CONTENT


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("data:,a%20b", b"a b"),
        ("data:text/plain;charset=utf-8,%C3%A9é", "éé".encode()),
        ("data:,100%", b"100%"),
        ("data:,%zz%4", b"%zz%4"),
        ("data:,a+b", b"a+b"),
        ("data:,a\nb#fragment", b"ab"),
        ("data:,", b""),
        ("data:image/png;base64;a=b,QQ", b"QQ"),
        ("data:base64,QQ", b"QQ"),
        ("data:;base64,QQ", b"A"),
        ("data:;base64,QR==", b"A"),
        ("data:;base64,", b""),
        ("data:,a,b", b"a,b"),
    ],
)
def test_other_forms(url, content):
    assert data_of_url(url) == content


@given(st.binary(max_size=300))
def test_what_python_reads_is_read_alike(content):
    url = "data:application/octet-stream," + urllib.parse.quote_from_bytes(content)
    with urllib.request.urlopen(url) as answer:
        assert data_of_url(url) == answer.read() == content


@given(st.text(max_size=60))
@example(",;base64,")
@example("%,%")
def test_any_text_gives_bytes_or_one_line(text):
    for url in (f"data:{text}", f"data:;base64,{text}"):
        try:
            found = _data(url, "images.0").hex()
        except ServiceError as error:
            found = f"{error.status} {error.message}"
        assert found.isprintable()
        assert found.isalnum() or found == "" or found.startswith("422 images.0: the data URL ")


@given(st.text("%0aF", min_size=1, max_size=40))
def test_escapes_are_replaced_wherever_a_part_ends(text):
    expected = urllib.parse.unquote_to_bytes(text)
    for part in (3, 4, 5, 7, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dim.serving.data_urls._PART", part)
            assert data_of_url(f"data:,{text}") == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64", r"images.0: the data URL has no comma: it must be data:...;base64,...."),
        ("data:;base64,A", "images.0: the data URL is not valid base64: one character is missing or too many."),
        ("data:;base64,QQ=", "images.0: the data URL is not valid base64: it contains '='."),
        ("data:;base64,QQ===", "images.0: the data URL is not valid base64: it contains '='."),
        ("data:;base64,Q%00Q=", "images.0: the data URL is not valid base64: it contains '\\x00'."),
        ("data:;base64,é", "images.0: the data URL is not valid base64: it contains '\\xc3'."),
        ("data:;base64,QQ==QQ==", "images.0: the data URL is not valid base64: it contains '='."),
    ],
)
def test_what_is_no_base64_is_refused(url, message):
    with pytest.raises(ServiceError) as caught:
        _data(url, "images.0")
    assert (caught.value.status, caught.value.message) == (422, message)


@pytest.mark.parametrize("text", ["%41", "%", "A", "\n", "=", "%%4", ";base64", "#"])
def test_sixteen_megabytes_of_anything_cost_little(text):
    url, found = "data:;base64," + text * (16_000_000 // len(text)), ""
    tracemalloc.start()
    start = time.process_time()
    with contextlib.suppress(ValueError):
        found = data_of_url(url)
    cost, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) <= 16_000_000
    assert cost < 2
    assert peak < 120_000_000


def test_docstring_examples():
    results = doctest.testmod(importlib.import_module("dim.serving.data_urls"))
    assert results.attempted == 1
    assert results.failed == 0
