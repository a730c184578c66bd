"""A server on 127.0.0.1 with the parts of the Hub's HTTP API that push and pull models, datasets and Spaces.

Repositories are kept in memory and survive a restart of the HTTP server. `Fault` makes responses fail. It supports the
requests of huggingface_hub 2.4, without xet, discussions and gated repositories.
"""

import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_api import ROUTES

TOKEN = "hf_loopback"
WRITES = re.compile(r"^/api/repos/create$|/(commit|preupload|branch|tag)/[^/]+$|/info/lfs/objects/batch$")


@dataclass
class Repo:
    """A repository: files by commit, commits by branch, tag or pull request."""

    private: bool = False
    commits: dict[str, dict[str, str]] = field(default_factory=dict)  # commit -> path -> blob
    refs: dict[str, str] = field(default_factory=dict)
    pulls: int = 0

    def commit(self, revision: str, files: dict[str, str], title: str) -> str:
        content = json.dumps([sorted(files.items()), title, len(self.commits)])
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[revision] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        sha = self.refs.get(revision, revision)
        return sha if sha in self.commits else None


@dataclass
class Fault:
    """Failure of the next `times` downloads of a file.

    `status` sends an HTTP error. `keep` sends that many bytes and closes the connection, or with `declared` declares
    them as the complete file. `then` is called afterwards.
    """

    file: str
    times: int = 1
    status: int | None = None
    keep: int = 0
    declared: bool = False
    then: Callable[[], None] = lambda: None


class LoopbackHub:
    """The Hub, a context manager; `environment` returns the variables for a new process."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}  # by git's id
        self.large: dict[str, str] = {}  # git's id -> sha256, for LFS files
        self.uploaded: dict[str, bytes] = {}  # by sha256
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, int]] = []  # method, path, status
        self.lock = threading.RLock()
        self.port = 0
        self._server: _Server | None = None

    def __enter__(self) -> "LoopbackHub":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server, on the same port after a stop."""
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Closes all connections at once, as a killed server does."""
        server, self._server = self._server, None
        if server is not None:
            server.socket.close()
            for connection in list(server.open):
                with contextlib.suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)
            threading.Thread(target=server.shutdown, daemon=True).start()  # may be called by one of its own threads

    def environment(self, home: Path) -> dict[str, str]:
        """Environment variables for a process that uses this Hub only, with its caches in `home`."""
        offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
        return {
            "HF_ENDPOINT": self.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0", **dict.fromkeys(offline, "0"),
        }  # fmt: skip

    def create(self, kind: str, name: str, private: bool) -> None:
        self.repos[kind, name] = Repo(private=private)
        self.repos[kind, name].commit("main", {}, "initial commit")

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes]:
        """Content of a repository by path; `kind` is `models`, `datasets` or `spaces`."""
        repo = self.repos[kind, name]
        return {path: self.blobs[blob] for path, blob in repo.commits[repo.refs[revision]].items()}

    def store(self, content: bytes, large: bool = False) -> str:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.blobs[blob] = content
        if large:
            self.large[blob] = hashlib.sha256(content).hexdigest()
        return blob

    def fault(self, file: str) -> Fault | None:
        found = next((one for one in self.faults if one.times > 0 and file.endswith(one.file)), None)
        if found is not None:
            found.times -= 1
        return found


class _Server(ThreadingHTTPServer):
    """Server that records its connections, to close them."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: LoopbackHub):
        self.hub, self.open = hub, set[socket.socket]()
        super().__init__(("127.0.0.1", hub.port), Request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that closed the connection."""


class Request(BaseHTTPRequestHandler):
    """Handler of a connection."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        """Does nothing: the hub has its own log."""

    def answer(self, status: int, body: object = b"", length: int | None = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.hub.log.append((self.command, self.path, status))
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        self.answer(status, {"error": message}, X_Error_Code=code, X_Error_Message=message, **headers)

    def respond(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        content = self._content() if self.command in ("POST", "PUT") else b""
        if WRITES.search(url.path) and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "", "Invalid username or password.")
        for pattern, action in ROUTES:
            match = pattern.fullmatch(url.path)
            if match:
                with self.hub.lock:
                    parts = {name: value and unquote(value) for name, value in match.groupdict().items()}
                    parts["kind"] = parts.get("kind") or "models"
                    return action(self, content, **parts)
        return self.refuse(404, "EntryNotFound", f"no route for {self.command} {url.path}")

    do_GET = do_HEAD = do_POST = do_PUT = respond  # noqa: N815

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def at(self, kind: str, name: str, revision: str) -> tuple[Repo, str, dict[str, str]] | None:
        """A repository, a commit and its files; sends an error and returns `None` if there is none."""
        repo = self.hub.repos.get((kind, name))
        if repo is None:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        sha = repo.resolve(revision)
        if sha is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, sha, repo.commits[sha]

    def entry(self, path: str, blob: str) -> dict[str, Any]:
        size = len(self.hub.blobs[blob])
        large = (
            {"lfs": {"oid": self.hub.large[blob], "size": size, "pointerSize": 134}} if blob in self.hub.large else {}
        )
        return {"type": "file", "oid": blob, "size": size, "path": path, **large}
