"""Builds the dataset `namesakes` from hand-written tables and pinned npm packages.

```shell
pip install -r datasets/namesakes/script/requirements.txt
python datasets/namesakes/script/build.py --packages /tmp/packages --out datasets/namesakes
python datasets/namesakes/script/build.py --packages /tmp/packages --out /tmp/namesakes --sheets /tmp/sheets
```

The same inputs and library versions give the same bytes. `npm pack` fetches missing packages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))

import card
import pictures
import rows
import sheets
import tables
from icons import Library
from templates import Templates

STRING, IMAGE = pa.string(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])
MENTIONS = pa.schema(
    [(name, STRING) for name in ("id", "sentence", "mention")]
    + [("start", pa.int32()), ("end", pa.int32()), ("image", IMAGE)]
    + [(name, STRING) for name in ("image_id", "entity_id", "entity_type", "topic")]
    + [(name, STRING) for name in ("expert_answer", "expert_model", "expert_prompt")]
    + [(name, STRING) for name in ("sentence_kind", "image_style", "image_source", "image_license")]
)
ENTITIES = pa.schema(
    [("id", STRING), ("name", STRING), ("aliases", pa.list_(STRING)), ("description", STRING)]
    + [("images", pa.list_(IMAGE)), ("type", STRING)]
    + [(name, STRING) for name in rows.EMPTY_DESCRIPTION]
    + [(name, pa.list_(STRING)) for name in ("image_styles", "image_sources", "image_licenses")]
)
CANDIDATES = pa.schema([("mention_id", STRING), ("entity_ids", pa.list_(STRING)), ("source", STRING)])


def write(out: Path, made: rows.Tables) -> dict[str, dict[str, dict[str, Any]]]:
    """Writes the Parquet files.

    Args:
        out: the dataset's folder.
        made: the rows.

    Returns:
        For each config and split: `schema`, `num_examples`, `num_bytes` (in memory) and `file_bytes`.
    """
    facts: dict[str, dict[str, dict[str, Any]]] = {}
    for config, schema, splits in (
        ("mentions", MENTIONS, made.mentions),
        ("entities", ENTITIES, {"kb": made.entities}),
        ("candidates", CANDIDATES, made.candidates),
    ):
        folder = out / config
        folder.mkdir(parents=True, exist_ok=True)
        for split, records in splits.items():
            table = pa.Table.from_pylist(records, schema=schema)
            path = folder / f"{split}-00000-of-00001.parquet"
            pq.write_table(
                table,
                path,
                row_group_size=max(1, len(records)),
                compression="zstd",
                use_dictionary=True,
                dictionary_pagesize_limit=1 << 28,
                write_statistics=False,
                store_schema=False,
            )
            facts.setdefault(config, {})[split] = {
                "schema": schema,
                "num_examples": len(records),
                "num_bytes": table.nbytes,
                "file_bytes": path.stat().st_size,
            }
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the build.

    Args:
        argv: the command line without the program's name; `sys.argv` by default.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--packages", type=Path, required=True, help="folder of the npm tarballs")
    parser.add_argument("--out", type=Path, required=True, help="folder that becomes the dataset")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets of all pictures")
    arguments = parser.parse_args(argv)

    library = Library(arguments.packages)
    senses, background = tables.load()
    drawn = pictures.draw(library, senses + background)
    if arguments.sheets:
        for name, part in (("senses", drawn[: len(senses)]), ("background", drawn[len(senses) :])):
            sheets.write(arguments.sheets, name, [(d.concept, d.pictures) for d in part], columns=2)
    made = rows.make(drawn, Templates())
    facts = write(arguments.out, made)
    card.write(arguments.out / "README.md", made, facts, library.packages)
    for config, splits in facts.items():
        for split, fact in splits.items():
            print(f"{config}/{split}: {fact['num_examples']:,} rows, {fact['file_bytes']:,} bytes")


if __name__ == "__main__":
    main()
