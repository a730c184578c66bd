"""Checks for access tokens, local paths, and pictures that are only paths."""

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dim.errors import DIMError
from dim.publishing.files import RepoFile

_SNIFF = 8192  # bytes; a file with a zero byte among them is not text
_TOKENS = (
    r"\bhf_[A-Za-z0-9]{16,}\b",  # Hugging Face
    r"\bsk-[A-Za-z0-9_-]{16,}",  # OpenAI, and others with the same format
    r"\bgh[pousr]_[A-Za-z0-9]{30,}\b",  # GitHub
    r"\bAKIA[A-Z0-9]{16}\b",  # AWS
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
)
_TOKEN = re.compile("|".join(_TOKENS), re.ASCII)  # as in Arrow
_FOLDERS = "home|root|Users|var|mnt|media|data|work|workspace|scratch|opt|srv|private"
_LOCAL = re.compile(
    rf"(?<![\w.:/@%~-])/(?:{_FOLDERS})/[^\s\"'`)>,;|]+"  # /home/me/model, but not example.org/home/me
    r"|\bfile:///[^\s\"'`)>,;|]+"
    r"|\b[A-Za-z]:\\{1,2}Users\\{1,2}[^\s\"'`)>,;|]+"
)
_TEMPORARY = re.compile(r'"/tmp/[^"]+"')  # a leak in JSON; in prose and code it is an example
_NAME_OR_PATH = re.compile(r'"_name_or_path"\s*:\s*"([^"]+)"')


def check_files(files: Iterable[RepoFile]) -> None:
    """Checks all files of a push: text files, and in Parquet files the texts and the paths of pictures.

    Args:
        files: The files.

    Raises:
        DIMError: For the first file with an access token, a local path, `_name_or_path`, or a picture that is not
            embedded. The message does not repeat a token.

    Example:

        >>> check_files([RepoFile("README.md", b"# A model"), RepoFile("notes.md", b"trained in /home/ada/dim")])
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: notes.md, line 1, contains a local path ('/home/ada/dim'): remove it, ...
    """
    for file in files:
        if file.path.endswith(".parquet"):
            source = BytesIO(file.content) if isinstance(file.content, bytes) else file.content
            _check_parquet(file.path, source)
            continue
        with BytesIO(file.content) if isinstance(file.content, bytes) else file.content.open("rb") as stream:
            if b"\0" in stream.read(_SNIFF):
                continue
            stream.seek(0)
            for number, line in enumerate(stream, 1):
                found = next(leaks(line.decode("utf-8", "replace")), None)
                if found is not None:
                    raise DIMError(f"{file.path}, line {number}, contains {found}. Nothing was uploaded.")


def leaks(text: str) -> Iterator[str]:
    """Finds access tokens, local paths and `_name_or_path` in a text.

    Args:
        text: The text.

    Yields:
        A description of each finding, without the token.

    Example:

        >>> list(leaks('"_name_or_path": "runs/mine"'))
        ["_name_or_path ('runs/mine'): remove it"]
        >>> list(leaks("see https://example.org/home/page"))
        []
    """
    for match in _TOKEN.finditer(text):
        yield f"what looks like an access token ({match[0][:5]}...): remove it, and revoke it if it was real"
    for match in _NAME_OR_PATH.finditer(text):
        yield f"_name_or_path ({match[1]!r}): remove it"
    for match in (*_LOCAL.finditer(text), *_TEMPORARY.finditer(text)):
        yield f"a local path ({match[0]!r}): remove it, or make it relative"
    for folder in {str(Path.home()), str(Path.cwd())} - {"/"}:
        if f"{folder}/" in text:
            yield f"a local path ({folder!r}): remove it, or make it relative"


def _check_parquet(name: str, source: Any) -> None:
    with pq.ParquetFile(source) as file:
        if (found := next(leaks(str(file.schema_arrow.metadata or "")), None)) is not None:
            raise DIMError(f"{name}, its metadata, contains {found}. Nothing was uploaded.")
        for batch in file.iter_batches(batch_size=1000):
            for column, values in zip(batch.schema.names, batch.columns, strict=True):
                _check_column(f"{name}, column {column!r},", values)


def _check_column(where: str, values: pa.Array) -> None:
    """Checks a column of texts or pictures, or of lists of them."""
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.flatten()
    if pa.types.is_struct(values.type) and {field.name for field in values.type} == {"bytes", "path"}:
        content, paths = pc.struct_field(values, "bytes"), pc.struct_field(values, "path")
        if pc.any(pc.and_(pc.is_null(content), pc.is_valid(paths))).as_py():
            raise DIMError(f"{where} contains pictures that are only paths: embed them. Nothing was uploaded.")
        if pc.any(pc.match_substring_regex(paths, r"[/\\]")).as_py():
            raise DIMError(f"{where} contains the folders of pictures: keep the names only. Nothing was uploaded.")
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        found = values.filter(pc.match_substring_regex(values, "|".join(_TOKENS)))
        if len(found):
            raise DIMError(f"{where} contains {next(leaks(found[0].as_py()))}. Nothing was uploaded.")
