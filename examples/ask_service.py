"""A client of `dim serve` that needs only the standard library.

dim serve --model demo/model --kb demo/kb &
python examples/ask_service.py
"""

import base64
import json
import os
import urllib.request
from pathlib import Path

SERVICE = os.environ.get("DIM_SERVICE", "http://127.0.0.1:8000")


def ask(method: str, path: str, body: dict | None = None) -> dict:
    """Sends a request; the token is needed only if the service has one."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('DIM_SERVE_TOKEN', '')}"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(SERVICE + path, data, headers, method=method)) as answer:
        return json.loads(answer.read() or "{}")


picture = "data:image/png;base64," + base64.b64encode(Path("demo/example.png").read_bytes()).decode()
mentions = [{"sentence": "[[Turkey]] was everywhere that autumn.", "images": images} for images in ([], [picture])]
for result in ask("POST", "/link", {"mentions": mentions, "k": 2})["results"]:
    print([(entity["name"], round(entity["score"], 1)) for entity in result["entities"]])

ask("PUT", "/entities/e9001", {"name": "Turkey Trot", "description": "race on Thanksgiving"})
print(ask("GET", "/entities/e9001")["entity"]["name"])
ask("DELETE", "/entities/e9001")
print(ask("GET", "/health"))
