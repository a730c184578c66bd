"""Routes of the loopback Hub: one function for each path of the HTTP API, listed in `ROUTES`."""

import base64
import hashlib
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import yaml

if TYPE_CHECKING:
    from loopback_hub import Request

LFS = re.compile(r"\.(safetensors|parquet|png)$")  # files that the Hub stores outside git


def whoami(here: "Request", content: bytes, **_: Any) -> None:
    here.answer(200, {"type": "user", "name": "org", "fullname": "org", "orgs": [], "auth": {"type": "access_token"}})


def validate_yaml(here: "Request", content: bytes, **_: Any) -> None:
    here.answer(200, {"errors": [], "warnings": []})


def create(here: "Request", content: bytes, **_: Any) -> None:
    asked = json.loads(content)
    kind, name = f"{asked.get('type') or 'model'}s", f"{asked.get('organization') or 'org'}/{asked['name']}"
    url = f"{here.hub.url}/{'' if kind == 'models' else f'{kind}/'}{name}"
    if (kind, name) in here.hub.repos:
        return here.answer(409, {"error": "You already created this repo", "url": url})
    here.hub.create(kind, name, private=asked.get("visibility") == "private")
    return here.answer(200, {"url": url, "id": "0", "name": name})


def info(here: "Request", content: bytes, kind: str, name: str, revision: str | None = None) -> None:
    if found := here.at(kind, name, revision or "main"):
        repo, sha, files = found
        here.answer(200, {
            "_id": "0", "id": name, "modelId": name, "author": name.split("/")[0], "sha": sha, "private": repo.private,
            "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [],
            "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path} for path in sorted(files)],
            **({"evalResults": eval_results(here, files)} if here.query.get("expand") == "evalResults" else {}),
        })  # fmt: skip


def eval_results(here: "Request", files: dict[str, str]) -> list[dict[str, Any]]:
    """The entries of `.eval_results/*.yaml`, each with its file, as the Hub sends them."""
    return [{"filename": path, "verified": False, "data": entry} for path, blob in sorted(files.items())
            if re.fullmatch(r"\.eval_results/[^/]+\.yaml", path)
            for entry in yaml.safe_load(here.hub.blobs[blob])]  # fmt: skip


def mark(here: "Request", content: bytes, kind: str, name: str, what: str, revision: str) -> None:
    """Makes a branch `revision`, or a tag on it."""
    asked = json.loads(content or b"{}")
    label, start = (revision, asked.get("startingPoint") or "main") if what == "branch" else (asked["tag"], revision)
    if found := here.at(kind, name, start):
        if label in found[0].refs:
            return here.answer(409, {"error": f"Reference {label} exists"})
        found[0].refs[label] = found[1]
        here.answer(200, {})
    return None


def tree(here: "Request", content: bytes, kind: str, name: str, revision: str, folder: str | None = None) -> None:
    if found := here.at(kind, name, revision):
        start = f"{folder.rstrip('/')}/" if folder else ""
        inside = {path: blob for path, blob in found[2].items() if path.startswith(start)}
        if folder and not inside:
            return here.refuse(404, "EntryNotFound", f"{folder} not found")
        parents = {str(parent) for path in inside for parent in Path(path).parents} - {"."}
        rows = [here.entry(path, blob) for path, blob in sorted(inside.items())]
        rows += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
                 for path in sorted(parents) if path.startswith(start)]  # fmt: skip
        if here.query.get("recursive", "false").lower() not in ("true", "1"):
            rows = [row for row in rows if "/" not in row["path"][len(start) :]]
        here.answer(200, rows)
    return None


def paths_info(here: "Request", content: bytes, kind: str, name: str, revision: str) -> None:
    if found := here.at(kind, name, revision):
        asked = json.loads(content) if content[:1] == b"{" else parse_qs(content.decode())
        files, rows = found[2], []
        for path in asked["paths"]:
            if path in files:
                rows.append(here.entry(path, files[path]))
            elif any(other.startswith(f"{path.rstrip('/')}/") for other in files):
                rows.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        here.answer(200, rows)


def preupload(here: "Request", content: bytes, kind: str, name: str, revision: str) -> None:
    if found := here.at(kind, name, revision):
        rows = []
        for path in [one["path"] for one in json.loads(content)["files"]]:
            blob = found[2].get(path, "")
            mode = "lfs" if LFS.search(path) else "regular"
            oid = here.hub.large.get(blob, blob) or None  # the client leaves out what is there as it is
            rows.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        here.answer(200, {"files": rows})


def lfs_batch(here: "Request", content: bytes, kind: str, name: str) -> None:
    """Asks for the files that are not there yet; an upload that was cut short goes on with what is left."""
    objects = []
    for one in json.loads(content)["objects"]:
        upload = {"upload": {"href": f"{here.hub.url}/_lfs/{one['oid']}", "header": {}}}
        actions = {} if one["oid"] in here.hub.uploaded else {"actions": upload}
        objects.append({"oid": one["oid"], "size": one["size"], **actions})
    here.answer(200, {"transfer": "basic", "objects": objects})


def lfs_put(here: "Request", content: bytes, oid: str, **_: Any) -> None:
    if (fault := here.hub.fault(oid)) or (fault := here.hub.fault("_lfs")):
        fault.then()
        return here.refuse(fault.status or 503, "", "Service unavailable")
    if hashlib.sha256(content).hexdigest() != oid:
        return here.refuse(400, "BadOid", "sha256 mismatch")
    here.hub.uploaded[oid] = content
    return here.answer(200)


def commit(here: "Request", content: bytes, kind: str, name: str, revision: str) -> None:
    found = here.at(kind, name, revision)
    if not found:
        return
    repo, files, title = found[0], dict(found[2]), ""
    for line in filter(None, content.split(b"\n")):
        operation = json.loads(line)
        value = operation["value"]
        if operation["key"] == "header":
            title = value["summary"]
        elif operation["key"] == "file":
            files[value["path"]] = here.hub.store(base64.b64decode(value["content"]))
        elif operation["key"] == "lfsFile":
            files[value["path"]] = here.hub.store(here.hub.uploaded[value["oid"]], large=True)
        elif operation["key"] == "deletedFile":
            del files[value["path"]]
    pull = {}
    if here.query.get("create_pr"):
        repo.pulls += 1
        revision = f"refs/pr/{repo.pulls}"
        pull = {"pullRequestUrl": f"{here.hub.url}/{name}/discussions/{repo.pulls}"}
    sha = repo.commit(revision, files, title)
    place = name if kind == "models" else f"{kind}/{name}"
    here.answer(200, {"success": True, "commitOid": sha, "commitUrl": f"{here.hub.url}/{place}/commit/{sha}", **pull})


def download(here: "Request", content: bytes, kind: str, name: str, revision: str, file: str) -> None:
    found = here.at(kind, name, revision)
    if not found:
        return None
    _, sha, files = found
    if file not in files:
        return here.refuse(404, "EntryNotFound", "Entry not found", X_Repo_Commit=sha)
    blob = files[file]
    body, large = here.hub.blobs[blob], here.hub.large.get(blob)
    headers = {"ETag": f'"{large or blob}"', "X_Repo_Commit": sha, "Accept_Ranges": "bytes"}
    if large:
        headers |= {"X_Linked_Etag": f'"{large}"', "X_Linked_Size": str(len(body))}
    status = 200
    part = re.fullmatch(r"bytes=(\d*)-(\d*)", here.headers.get("Range", ""))
    if part and here.command == "GET":
        size = len(body)
        first, last = int(part[1] or size), int(part[2] or size - 1)
        start, end = (first, min(last, size - 1)) if part[1] else (size - last, size - 1)
        if start >= size:
            return here.answer(416, Content_Range=f"bytes */{size}")
        status, body, headers["Content_Range"] = 206, body[start : end + 1], f"bytes {start}-{end}/{size}"
    fault = here.hub.fault(file) if here.command == "GET" else None
    if fault is None:
        return here.answer(status, body, **headers)
    if fault.status:
        here.refuse(fault.status, "", "Service unavailable")
    else:
        here.answer(status, body[: fault.keep], length=None if fault.declared else len(body), **headers)
        here.wfile.flush()
        here.close_connection = True
        if not fault.declared:
            here.connection.shutdown(socket.SHUT_RDWR)
    return fault.then()


API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
REPO = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+(?:/[^/]+)?)"  # some old names have no owner
ROUTES: list[tuple[re.Pattern[str], Callable[..., None]]] = [
    (re.compile(pattern), action)
    for pattern, action in (
        (r"/api/whoami-v2", whoami),
        (r"/api/validate-yaml", validate_yaml),
        (r"/api/repos/create", create),
        (rf"{API}(?:/revision/(?P<revision>[^/]+))?", info),
        (rf"{API}/(?P<what>branch|tag)/(?P<revision>[^/]+)", mark),
        (rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", tree),
        (rf"{API}/paths-info/(?P<revision>[^/]+)", paths_info),
        (rf"{API}/preupload/(?P<revision>[^/]+)", preupload),
        (rf"{API}/commit/(?P<revision>[^/]+)", commit),
        (rf"{REPO}\.git/info/lfs/objects/batch", lfs_batch),
        (r"/_lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
        (rf"{REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", download),
    )
]
