"""Asks a language model on any OpenAI-compatible server for new descriptions.

OPENAI_BASE_URL=http://127.0.0.1:8000/v1 MODEL=Qwen/Qwen3-4B-Instruct-2507 python examples/enhance.py
"""

import os
import tempfile
from pathlib import Path

from dim import Ledger, OpenAIClient, Question, enhance, entity_texts, load_prompt

ENTITIES = [
    {"id": "Q1", "name": "Ada Lovelace", "description": "Sex: female. Birth: 1815, London."},
    {"id": "Q2", "name": "Alan Turing", "description": "Sex: male. Birth: 1912, London."},
]

ledger = Ledger(Path(tempfile.mkdtemp()) / "answers.sqlite")  # caches every answer
question = Question(os.environ["MODEL"], load_prompt("describe"))
server = OpenAIClient(os.environ["OPENAI_BASE_URL"])
result = enhance(entity_texts(ENTITIES, "this script"), question, server, ledger)
for row in result.descriptions:
    print(row["id"], row["description"])
print("kept their description:", result.kept)
