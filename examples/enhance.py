"""New descriptions by a language model, from any OpenAI-compatible server.

OPENAI_BASE_URL=http://127.0.0.1:8000/v1 MODEL=Qwen/Qwen3-4B-Instruct-2507 python examples/enhance.py
"""

import os
import tempfile
from pathlib import Path

from dim.enhancement.answers import Question
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.enhancement.enhance import enhance
from dim.enhancement.entity_text import entity_texts
from dim.enhancement.ledger import Ledger
from dim.enhancement.prompts import load_prompt

ENTITIES = [
    {"id": "Q1", "name": "Ada Lovelace", "description": "Sex: female. Birth: 1815, London."},
    {"id": "Q2", "name": "Alan Turing", "description": "Sex: male. Birth: 1912, London."},
]

ledger = Ledger(Path(tempfile.mkdtemp()) / "answers.sqlite")  # every answer is on the disk before the next one counts
question = Question(os.environ["MODEL"], load_prompt("describe"))
server = OpenAIClient(os.environ["OPENAI_BASE_URL"])
result = enhance(entity_texts(ENTITIES, "this script"), question, server, ledger)
for row in result.descriptions:
    print(row["id"], row["description"])
print("kept their description:", result.kept)
