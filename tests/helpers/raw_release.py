"""A small raw release of our own writing, in the files of MELBench's WikiMEL and GHMFC's knowledge base."""

import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

PEOPLE = {  # id: name, description
    "Q11": ("Mira Holt", "Occupation: pilot."),
    "Q12": ("Mira Vance", "Occupation: painter."),
    "Q13": ("Tomas Holt", "Occupation: sailor."),
    "Q14": ("José Ilar", "Occupation: cook."),
    "Q15": ("Anna-Lena Frey", ""),
    "Q16": ("Nobody Asked", "Never an answer."),
}
SENTENCES = {  # id: split, sentence, mentions and answers
    "7": ("train", "Mira Holt and Tomas in a harbour.", [("Mira Holt", "Q11"), ("Tomas", "Q13")]),
    "9": ("train", "Vance with her brother.", [("Vance", "Q12")]),
    "4": ("train", "Jose at the stove; Jose's knife.", [("José", "Q14")]),
    "30": ("train", "The crew, unnamed.", [("Holt", "Q13")]),
    "22": ("dev", "Frey waves to Mira.", [("Frey", "Q15"), ("Mira", "Q12")]),
    "21": ("dev", "A painting by Mira Vance.", [("Mira Vance", "Q12")]),
}
PROVENANCE = {
    "description_source": "llm",
    "description_model": "some-model",
    "description_prompt": "Who is {name}?",
    "description_created_at": "2026-11-22T10:00:00Z",
    "description_usage": None,
    "description_finish_reason": "stop",
}


def write_release(folder: Path, sentences: dict = SENTENCES, people: dict = PEOPLE) -> Path:
    """A release in the files of MELBench's WikiMEL and GHMFC's knowledge base, with sentences of our own."""
    folder.mkdir(parents=True)
    texts = {
        key: {
            "id": key,
            "sentence": sentence,
            "mentions": [mention for mention, _ in pairs],
            "entities": [people[answer][0] if answer in people else "" for _, answer in pairs],
            "answer": [answer for _, answer in pairs],
        }
        for key, (_, sentence, pairs) in sentences.items()
    }
    splits = {split: [key for key, row in sentences.items() if row[0] == split] for split in ("train", "dev", "test")}
    files = {
        "Wikidata-MEL.json": texts,
        "splits.json": splits,
        "qid2ne.json": {key: name for key, (name, _) in people.items()},
        "qid2abs.json": {key: text for key, (_, text) in people.items()},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_pictures(folder: Path) -> Path:
    """Pictures of sentences 7 (JPEG), 9 (TIFF), 4 (damaged) and 22 (PNG); 30 and 21 have none."""
    folder.mkdir()
    for name, colour in (("7.jpg", "red"), ("9.tif", "blue"), ("22.png", "white")):
        Image.new("RGB", (40, 30), colour).save(folder / name)
    (folder / "4.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


def python(code: str, *arguments: object, **environment: str) -> str:
    """Runs code in a fresh interpreter and returns what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
