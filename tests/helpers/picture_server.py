"""A real server on this machine that does all that servers do, and more than they may."""

import asyncio
import io
import socket
import threading
import time

from aiohttp import web
from PIL import Image

from dim.corpora.fetch.download import Limits

LOCAL = Limits(requests_per_second=1e6, bytes_per_second=1e12, timeout=10, backoff=0, allow_private=True)
DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">
  <rect width="40" height="20" fill="red"/>
</svg>"""


def picture(kind: str = "PNG", colour: str = "teal", **options) -> bytes:
    """A picture file of 24 x 16 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), colour).save(buffer, kind, **options)
    return buffer.getvalue()


class Server:
    """Answers each path by a function of the request, logs what it was asked, and runs in a thread of its own."""

    def __init__(self):
        self.answers, self.seen, self.headers, self.times = {}, [], [], []
        self.active = self.most = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self):
        self._runner = web.ServerRunner(web.Server(self._answer))
        await self._runner.setup()
        listener = socket.create_server(("0.0.0.0", 0))  # so that 127.0.0.2 is there, too
        self.port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def _answer(self, request):
        self.seen.append(request.raw_path)
        self.headers.append(dict(request.headers))
        self.times.append(time.monotonic())
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            answers = self.answers[request.path]
            return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)
        finally:
            self.active -= 1

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    def serve(self, path, body=b"", status=200, kind="image/png", **headers):
        """Answers a path with a body and headers (`Retry_After="1"`), and returns its URL."""

        async def answer(request):
            told = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(body=body, status=status, headers={"Content-Type": kind, **told})

        self.handle(path, answer)
        return self.url(path)

    def handle(self, path, answer):
        """Answers a path by a coroutine; of several for one path, each once and the last for good."""
        self.answers.setdefault(path, []).append(answer)
        return self.url(path)

    def stop(self):
        """Ends it, and with it what still hangs."""

        async def end():
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await self._runner.cleanup()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
