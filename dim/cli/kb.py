"""`dim kb create`, `add`, `remove`, `encode`, `refresh`, `info`, `versions`, `restore`, `export` and `import`."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dim.enhancement.session import Asking, add_asking
from dim.errors import DIMError
from dim.kb.database import is_local

if TYPE_CHECKING:
    from dim.enhancement.ledger import Ledger
    from dim.kb.store import KnowledgeBase

_SOURCE = "a .jsonl, .csv or .parquet file, MIMIC's kb_entity.json, or a dataset with the config `entities`"


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `kb` with its actions, each with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    kb = commands.add_parser("kb", help="make, change and look at a knowledge base")
    actions = kb.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        parser.add_argument("kb", metavar="KB", help="folder or other URI of the knowledge base")
        parser.set_defaults(run=globals()[f"_{name}"])
        return parser

    create = action("create", "make a knowledge base, and with --model encode it")
    create.add_argument("--from", dest="source", required=True, metavar="SOURCE", help=_SOURCE)
    create.add_argument("--model", help="folder or Hub name of a DIM that encodes it")
    create.add_argument("--overwrite", action="store_true", help="replace one that is there; it stays as a version")
    _add_encoding(create)

    add = action("add", "add entities, and replace those whose id is there")
    add.add_argument("--from", dest="source", required=True, metavar="SOURCE", help=_SOURCE)
    add.add_argument("--model", help="folder or Hub name of the DIM that encodes what is new")
    _add_encoding(add)

    remove = action("remove", "take entities away")
    remove.add_argument("ids", nargs="*", metavar="ID", help="ids of entities")
    remove.add_argument("--ids", dest="file", type=Path, metavar="FILE", help="a file with an id a line; - for stdin")

    encode = action("encode", "encode what is new or changed, or everything by another model")
    encode.add_argument("--model", required=True, help="folder or Hub name of a DIM")
    _add_encoding(encode)

    refresh = action("refresh", "renew descriptions by a language model, and with --encoder encode what changed")
    which = refresh.add_mutually_exclusive_group(required=True)
    which.add_argument("--older-than", metavar="AGE", help="descriptions older than this: 90d, 12w or 36h")
    which.add_argument("--ids", nargs="+", metavar="ID", help="descriptions of these entities")
    refresh.add_argument("--out", type=Path, metavar="FILE", help="JSONL of them (default: KB.refresh.jsonl)")
    refresh.add_argument("--encoder", metavar="MODEL", help="folder or Hub name of the DIM that encoded the rest")
    add_asking(refresh)
    _add_encoding(refresh)

    info = action("info", "show what a knowledge base holds")
    info.add_argument("--json", action="store_true", help="print JSON instead of lines")
    versions = action("versions", "list the versions")
    versions.add_argument("--json", action="store_true", help="print JSON instead of a table")
    restore = action("restore", "make an older version the newest")
    restore.add_argument("version", type=int, metavar="VERSION", help="its number, as `dim kb versions` lists it")
    export = action("export", "write every entity with its vector as Parquet")
    export.add_argument("file", type=Path, metavar="FILE", help="the Parquet file; replaced if it exists")
    load = action("import", "make a knowledge base from an export, vectors included")
    load.add_argument("file", type=Path, metavar="FILE", help="a Parquet file that `dim kb export` wrote")
    load.add_argument("--overwrite", action="store_true", help="replace one that is there; it stays as a version")


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="rows encoded at a time (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that decode pictures (%(default)s)"
    )
    parser.add_argument("--device", help="cpu, cuda ...; the GPU by default if there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32",
                        help="of the model's arithmetic (%(default)s)")  # fmt: skip


def _create(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    encoder = _Encoder(arguments, arguments.model) if arguments.model else None
    kb = KnowledgeBase.create(arguments.kb, arguments.source, overwrite=arguments.overwrite, progress=True)
    if encoder is not None:
        encoder(kb)
    print(f"{len(kb):,} entities in {kb.uri}")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    kb = KnowledgeBase.open(arguments.kb)
    encoder = _Encoder(arguments, arguments.model) if arguments.model else None
    print(f"{kb.upsert(arguments.source):,} entities added or changed")
    _encode_changed(kb, encoder)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    ids = list(arguments.ids)
    if arguments.file is not None:
        if str(arguments.file) != "-" and not arguments.file.is_file():
            raise DIMError(f"There is no file {arguments.file}.")
        text = sys.stdin.read() if str(arguments.file) == "-" else arguments.file.read_text(encoding="utf-8")
        ids += text.split("\n")
    ids = [name for name in dict.fromkeys(ids) if name]
    if not ids:
        raise DIMError("Name the entities to remove: ids, or --ids FILE.")
    KnowledgeBase.open(arguments.kb).delete(ids)
    print(f"{len(ids):,} entities removed")
    return 0


def _encode(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    kb = KnowledgeBase.open(arguments.kb)
    _Encoder(arguments, arguments.model)(kb)
    return 0


def _refresh(arguments: argparse.Namespace) -> int:
    from dim.enhancement.refresh import chosen, cutoff, older_than, texts_of, write_back
    from dim.kb.store import KnowledgeBase

    kb = KnowledgeBase.open(arguments.kb)
    if arguments.out is None:
        if not is_local(kb.uri):
            raise DIMError(f"{kb.uri} is no folder: say by --out FILE where answers are kept.")
        folder = Path(kb.uri).resolve()
        arguments.out = folder.with_name(f"{folder.name}.refresh.jsonl")
    asking = Asking(arguments)
    since = "" if arguments.ids else cutoff(arguments.older_than)
    entities = texts_of(kb, chosen(kb, arguments.ids) if arguments.ids else older_than(kb, since))
    if arguments.dry_run:
        asking.estimate(entities, since)
        return 0
    encoder = _Encoder(arguments, arguments.encoder) if arguments.encoder else None
    if encoder is not None:
        encoder.check(kb)

    def work(ledger: "Ledger") -> None:
        ledger.drop_before(since)
        if there := len(ledger.keys()):
            print(f"{there:,} answers of a refresh that was not finished are in {asking.answers}")
        result = asking(entities, ledger)
        write_back(kb, entities, result)
        asking.report(result)
        _encode_changed(kb, encoder)
        if not result.failed and not result.not_asked:
            ledger.clear()  # the next refresh asks anew

    return asking.run(work)


def _encode_changed(kb: "KnowledgeBase", encoder: "_Encoder | None") -> None:
    if encoder is not None:
        encoder(kb)
    elif kb.width:
        print(f"not encoded yet: {kb.encoders().get(None, 0):,} (dim kb encode {kb.uri} --model MODEL)")


class _Encoder:
    """A model, loaded before anything is written."""

    def __init__(self, arguments: argparse.Namespace, model: str):
        import torch

        from dim.encoding.loading import load_dim

        if arguments.batch_size < 1 or arguments.workers < 0:
            raise DIMError("--batch-size must be at least 1 and --workers at least 0.")
        self.options = {"batch_size": arguments.batch_size, "num_workers": arguments.workers, "progress": True}
        self.dtype = getattr(torch, arguments.dtype)
        self.device = arguments.device
        self.model, self.processor = load_dim(model)

    def check(self, kb: "KnowledgeBase") -> None:
        """Raises a `DIMError` if another model, or none, encoded the knowledge base: all of it would be encoded."""
        from dim.encoding.loading import fingerprint

        if not kb.width:
            raise DIMError(f"Nothing in {kb.uri} is encoded: leave --encoder out, or encode it first by dim kb encode.")
        others = set(kb.table(["encoder"])["encoder"].to_pylist()) - {None, fingerprint(self.model, self.processor)}
        if others:
            raise DIMError(f"{kb.uri} was encoded by another model than --encoder; encode it by dim kb encode first.")

    def __call__(self, kb: "KnowledgeBase") -> None:
        from accelerate import PartialState

        state = PartialState(cpu=self.device == "cpu")
        model = self.model.to(self.device or state.device)
        count = kb.encode(model, self.processor, dtype=self.dtype, **self.options)
        if state.is_main_process:
            print(f"{count:,} entities encoded")


def _info(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    info = KnowledgeBase.open(arguments.kb).info()
    if arguments.json:
        print(json.dumps(info, ensure_ascii=False, indent=2))
        return 0
    encoders = ", ".join(f"{name} ({count:,})" for name, count in info.pop("encoders").items())
    lines = {**info, "encoders": encoders or "none"}
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value}")
    return 0


def _versions(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    versions = KnowledgeBase.open(arguments.kb).versions()
    if arguments.json:
        print(json.dumps([{**one, "time": one["time"].isoformat()} for one in versions], indent=2))
        return 0
    print("version  time                 entities")
    for one in versions:
        print(f"{one['version']:>7}  {one['time']:%Y-%m-%d %H:%M:%S}  {one['entities']:>8,}")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    kb = KnowledgeBase.open(arguments.kb)
    kb.restore(arguments.version)
    print(f"version {kb.version} is what version {arguments.version} was: {len(kb):,} entities")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    kb = KnowledgeBase.open(arguments.kb)
    kb.export(arguments.file)
    print(f"{len(kb):,} entities in {arguments.file}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from dim.kb.store import KnowledgeBase

    if arguments.file.suffix != ".parquet":
        raise DIMError(f"{arguments.file} is no .parquet file; for others: dim kb create {arguments.kb} --from FILE")
    kb = KnowledgeBase.create(arguments.kb, arguments.file, overwrite=arguments.overwrite, progress=True)
    print(f"{len(kb):,} entities in {kb.uri}")
    return 0


__all__ = ["add_commands"]
