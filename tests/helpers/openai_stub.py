"""A scripted OpenAI-compatible server on this machine: chat completions, responses, files and batches.

As a script (`python tests/helpers/openai_stub.py --latency 0.2`) it prints its port and answers until it is killed.
"""

import argparse
import asyncio
import itertools
import json
import threading
import time

from aiohttp import web

KEY = "sk-madeup-0123456789"  # for tests; the server asks for none
COUNTRIES = ("France", "Peru", "Kenya", "Japan", "Norway", "Chile", "Ghana", "India")


def entity_of(body: dict) -> dict:
    """The entity that a request of either API is about; the prompt stands for it where the request has a picture."""
    quoted = body["messages"][-1]["content"] if "messages" in body else body["input"]
    if isinstance(quoted, list):
        return {"id": quoted[-1]["text"], "name": quoted[-1]["text"]}
    return json.loads(quoted)


def description(entity: dict) -> str:
    """The stub's answer about an entity: a different text for each, long enough to be recognised as English."""
    number = sum(map(ord, entity["id"]))
    return (
        f"{entity['name']} is a person from {COUNTRIES[number % len(COUNTRIES)]} who is known as number {entity['id']} "
        "of the people in this list, and for the work that was done there."
    )


class OpenAIStub:
    """A server in a thread that follows its script and logs each request.

    `script[id]` lists what happens to the requests about an entity, one after the other; later ones are answered. A
    step is a status (`500`, or `(429, {"Retry-After": "1"})`, or `(400, {}, "code")`), `"drop"`, `"malformed"`,
    `"html"`, `"shape"`, a number of seconds as a float to be slow, `"empty"`, `"length"`, `"refusal"`, `"filter"`,
    `("text", words)`, or a function that takes the request's body and the good answer, and gives a status and what is
    sent instead: JSON or bytes. `spent` counts the tokens of all that was sent with status 200, whatever it says.
    """

    def __init__(self, latency: float = 0.0):
        self.latency, self.script, self.usage = latency, {}, True
        self.requests, self.headers, self.times = [], [], []  # of the two answering APIs
        self.calls = []  # (method, path) of everything
        self.active = self.most = 0
        self.spent = (0, 0)
        self.files, self.batches = {}, {}
        self.polls_to_end = 1
        self.spoil = None  # a function of the lines that are downloaded, which gives the bytes to send
        self.batch_script = []  # for the batches created next: "drop", "lost", "failed", "expired", a status
        self._ids = itertools.count(1)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def entities(self) -> list[str]:
        """Ids of the entities that were asked about, in order."""
        return [entity_of(body)["id"] for body in self.requests]

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self):
        app = web.Application(client_max_size=1 << 30, middlewares=[self._log])
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._answer),
                web.post("/v1/responses", self._answer),
                web.post("/v1/files", self._upload),
                web.get("/v1/files/{id}/content", self._download),
                web.post("/v1/batches", self._create),
                web.get("/v1/batches", self._list),
                web.get("/v1/batches/{id}", self._retrieve),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    @web.middleware
    async def _log(self, request, handler):
        self.calls.append((request.method, request.path))
        return await handler(request)

    async def _answer(self, request):
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.times.append(time.monotonic())
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            await asyncio.sleep(self.latency)
            steps = self.script.get(entity_of(body)["id"]) if self.script else None
            step = steps.pop(0) if steps else None
            if callable(step):
                status, given = self.played(step, body, "/responses" in request.path)
                content = given if isinstance(given, bytes) else json.dumps(given).encode()
                return web.Response(body=content, status=status, content_type="application/json")
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif step == "drop":
                request.transport.close()
                return web.Response()
            elif step == "malformed":
                return web.Response(text='{"choices": [', content_type="application/json")
            elif step == "html":
                return web.Response(text="<html>busy</html>", content_type="text/html")
            elif step == "shape":
                return web.json_response({"choices": [], "output": None})
            elif isinstance(step, int) or (isinstance(step, tuple) and step[0] != "text"):
                given = step if isinstance(step, tuple) else (step,)
                status, headers, code = given + (None, {}, None)[len(given) :]
                error = {"message": f"scripted {status}", "type": "scripted", "code": code}
                return web.json_response({"error": error}, status=status, headers=headers)
            return web.json_response(self.completion(body, step, "/responses" in request.path))
        finally:
            self.active -= 1

    def played(self, step, body: dict, responses: bool) -> tuple:
        """What a function of the script sends, on the stub's own account."""
        status, given = step(body, self.completion(body, None, responses))
        if status == 200:
            self.spent = (self.spent[0] + 50, self.spent[1] + 30)
        return status, given

    def completion(self, body: dict, step, responses: bool) -> dict:
        """A response body of either API."""
        text, refusal, reason = description(entity_of(body)), None, "stop"
        if step == "empty":
            text = ""
        elif step == "length":
            reason = "length"
        elif step == "refusal":
            text, refusal = None, "I will not describe that."
        elif step == "filter":
            text, reason = "", "content_filter"
        elif isinstance(step, tuple):
            text = step[1]
        model, usage = f"{body['model']}-2026-11", (50, 30)
        if responses:
            content = [{"type": "refusal", "refusal": refusal}] if refusal else [{"type": "output_text", "text": text}]
            incomplete = {"length": "max_output_tokens"}.get(reason, reason)
            found = {
                "id": "resp_1", "object": "response", "created_at": 0, "model": model,
                "status": "completed" if reason == "stop" else "incomplete",
                "incomplete_details": None if reason == "stop" else {"reason": incomplete},
                "output": [{"type": "message", "id": "m", "role": "assistant", "content": content}],
                "usage": {"input_tokens": usage[0], "output_tokens": usage[1], "total_tokens": sum(usage)},
            }  # fmt: skip
        else:
            message = {"role": "assistant", "content": text, "refusal": refusal}
            found = {
                "id": "chat_1", "object": "chat.completion", "created": 0, "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
            }  # fmt: skip
        if not self.usage:
            del found["usage"]
        return found

    # ------------------------------------------------------------------------------------------------------ batches

    async def _upload(self, request):
        form = await request.post()
        name = f"file-{next(self._ids)}"
        self.files[name] = form["file"].file.read()
        reply = {"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "requests.jsonl"}
        return web.json_response({**reply, "purpose": form["purpose"], "status": "processed"})

    async def _download(self, request):
        content = self.files[request.match_info["id"]]
        return web.Response(body=self.spoil(content.split(b"\n")[:-1]) if self.spoil else content)

    async def _create(self, request):
        body = await request.json()
        step = self.batch_script.pop(0) if self.batch_script else None
        if isinstance(step, int):
            return web.json_response({"error": {"message": f"scripted {step}"}}, status=step)
        if step != "lost":
            name = f"batch-{next(self._ids)}"
            self.batches[name] = {"body": body, "polls": 0, "fate": step}
        if step in ("drop", "lost"):
            request.transport.close()
            return web.Response()
        return web.json_response(self._batch(name))

    async def _list(self, request):
        names = list(self.batches)[::-1]
        after = request.query.get("after")
        start = names.index(after) + 1 if after else 0
        page = names[start : start + 2]  # small, so that there are pages
        return web.json_response({"object": "list", "data": [self._batch(name) for name in page],
                                  "first_id": page[0] if page else None, "last_id": page[-1] if page else None,
                                  "has_more": start + 2 < len(names)})  # fmt: skip

    async def _retrieve(self, request):
        self.batches[request.match_info["id"]]["polls"] += 1
        return web.json_response(self._batch(request.match_info["id"]))

    def _batch(self, name: str) -> dict:
        one = self.batches[name]
        body, lines = one["body"], self.files[one["body"]["input_file_id"]].splitlines()
        ended = one["polls"] >= self.polls_to_end
        fate = one["fate"] if one["fate"] in ("failed", "expired") else "completed"
        found = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"], "created_at": 0, "metadata": body.get("metadata"),
            "status": fate if ended else ("validating", "in_progress", "finalizing")[min(one["polls"], 2)],
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }  # fmt: skip
        if ended and fate == "failed":
            found["errors"] = {"object": "list", "data": [{"message": "line 1 is bad", "code": "invalid", "line": 1}]}
        elif ended:
            good, bad = [], []
            for line in lines[: 1 if fate == "expired" else None]:
                row = json.loads(line)
                entity = entity_of(row["body"])
                steps = self.script.get(entity["id"])
                step = steps.pop(0) if steps else None
                if callable(step):
                    status, given = self.played(step, row["body"], row["url"].endswith("responses"))
                    given = given.decode(errors="replace") if isinstance(given, bytes) else given
                    (good if status == 200 else bad).append(
                        {"custom_id": row["custom_id"], "response": {"status_code": status, "body": given}}
                    )
                elif isinstance(step, int):
                    error = {"error": {"message": f"scripted {step}"}}
                    bad.append({"custom_id": row["custom_id"], "response": {"status_code": step, "body": error}})
                else:
                    answer = self.completion(row["body"], step, row["url"].endswith("responses"))
                    response = {"status_code": 200, "request_id": "r", "body": answer}
                    good.append({"id": "x", "custom_id": row["custom_id"], "response": response, "error": None})
            for key, rows in (("output_file_id", good), ("error_file_id", bad)):
                if rows:
                    self.files[f"{name}-{key}"] = "".join(json.dumps(row) + "\n" for row in rows[::-1]).encode()
                    found[key] = f"{name}-{key}"
            found["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        return found

    def stop(self):
        """Stops the server and cancels open requests."""

        async def end():
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await self._runner.cleanup()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    stub = OpenAIStub(parser.parse_args().latency)
    print(stub.port, flush=True)
    while True:
        time.sleep(1)
        stub.requests.clear()
        stub.headers.clear()


if __name__ == "__main__":
    main()
