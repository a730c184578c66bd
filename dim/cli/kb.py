"""`dim kb`: a knowledge base made, changed and looked at."""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dim.cli.asking import Asking, Session
from dim.cli.command import DIM, Command
from dim.cli.encoding import Encoder, Encoding, encode_changed
from dim.common.parser import option
from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.kb.store import KnowledgeBase

_SOURCE = "a .jsonl, .csv or .parquet file, MIMIC's kb_entity.json, or a dataset with the config `entities`"


@dataclass(kw_only=True)
class Existing(Command):
    """A command on a knowledge base that exists, or is being made."""

    kb: str = option("folder or other URI of the knowledge base", positional=True, metavar="KB")

    def open(self) -> "KnowledgeBase":
        """Opens the knowledge base."""
        from dim.kb.store import KnowledgeBase

        return KnowledgeBase.open(self.kb)

    def creating(self, command: str) -> AbstractContextManager[None]:
        """Holds the lock of a knowledge base in a folder while a command makes it."""
        from dim.common.locks import locked
        from dim.kb.database import is_local

        return locked(Path(self.kb), command, inside=True) if is_local(self.kb) else nullcontext()


@dataclass(kw_only=True)
class Create(Encoding, Existing):
    """Makes a knowledge base, and with --model encodes it."""

    source: str = option(_SOURCE, aliases=["--from"], metavar="SOURCE")
    overwrite: bool = option("replace an existing one, which stays as a version", False)

    def run(self) -> None:
        """Runs the command."""
        from dim.kb.database import exists
        from dim.kb.store import KnowledgeBase

        with self.creating("dim kb create"):
            encoder = self.encoder()
            if encoder is not None and not self.overwrite and exists(self.kb) and self.open().holds(self.source):
                kb = self.open()  # the same command was stopped while it encoded
            else:
                kb = KnowledgeBase.create(self.kb, self.source, overwrite=self.overwrite, progress=True)
            if encoder is not None:
                encoder.encode(kb)
            print(f"{len(kb):,} entities in {kb.uri}")


@dataclass(kw_only=True)
class Add(Encoding, Existing):
    """Adds entities, and replaces those whose id exists."""

    source: str = option(_SOURCE, aliases=["--from"], metavar="SOURCE")

    def run(self) -> None:
        """Runs the command."""
        kb = self.open()
        encoder = self.encoder()
        print(f"{kb.upsert(self.source):,} entities added or changed")
        encode_changed(kb, encoder)


@dataclass(kw_only=True)
class Remove(Existing):
    """Removes entities."""

    ids: list[str] = option("ids of entities", positional=True, metavar="ID")
    file: Path | None = option("a file with an id a line; - for standard input", None, aliases=["--ids"],
                               metavar="FILE")  # fmt: skip

    def run(self) -> None:
        """Runs the command."""
        ids = list(self.ids)
        if self.file is not None:
            content = sys.stdin.buffer.read() if str(self.file) == "-" else self.file.read_bytes()
            try:
                ids += (line.strip() for line in content.decode("utf-8-sig").splitlines())
            except UnicodeDecodeError as error:
                raise DIMError(f"{self.file} is not valid UTF-8 (byte {error.start + 1}).") from error
        ids = [name for name in dict.fromkeys(ids) if name]
        if not ids:
            raise DIMError("Name the entities to remove: ids, or --ids FILE.")
        self.open().delete(ids)
        print(f"{len(ids):,} entities removed")


@dataclass(kw_only=True)
class Encode(Encoding, Existing):
    """Encodes new and changed entities, or everything by another model."""

    model: str = option(DIM)

    def run(self) -> None:
        """Runs the command."""
        kb = self.open()
        Encoder(self).encode(kb)


@dataclass(kw_only=True)
class Refresh(Encoding, Asking, Existing):
    """Renews descriptions by a language model, and with --model encodes the changed entities."""

    older_than: str | None = option("descriptions older than this: 90d, 12w or 36h", None, one_of="which",
                                    metavar="AGE")  # fmt: skip
    ids: list[str] = option("descriptions of these entities", [], one_of="which", metavar="ID")
    out: Path | None = option("JSONL of the new descriptions; default: KB.refresh.jsonl", None, metavar="FILE")

    def run(self) -> int:
        """Runs the command.

        Returns:
            The exit code: 1 if all requests failed.
        """
        from dim.enhancement.refresh import begun, chosen, cutoff, older_than, texts_of, write_back

        kb = self.open()
        session = Session(self, self._out(kb.uri))
        ids = chosen(kb, self.ids)
        since = "" if ids else cutoff(str(self.older_than))
        if self.dry_run:
            session.estimate(texts_of(kb, ids or older_than(kb, since)), since)
            return 0
        encoder = self.encoder()
        if encoder is not None:
            encoder.check(kb)
        with session.ledger() as ledger:
            since = "" if ids else begun(ledger, str(self.older_than))
            entities = texts_of(kb, ids or older_than(kb, since))
            ledger.drop_before(since)
            if cached := len(ledger.keys()):
                print(f"{cached:,} answers of a refresh that was not finished are in {session.answers}")
            result = session.ask(entities, ledger)
            write_back(kb, entities, result)
            code = session.report(result)
            encode_changed(kb, encoder)
            if not result.failed and not result.not_asked:
                ledger.clear()  # the next refresh asks anew
            return code

    def _out(self, uri: str) -> Path:
        from dim.kb.database import is_local

        if self.out is not None:
            return self.out
        if not is_local(uri):
            raise DIMError(f"{uri} is not a folder: give a file for the answers by --out FILE.")
        folder = Path(uri).resolve()
        return folder.with_name(f"{folder.name}.refresh.jsonl")


@dataclass(kw_only=True)
class Info(Existing):
    """Shows what a knowledge base holds."""

    json: bool = option("print JSON instead of lines", False)

    def run(self) -> None:
        """Runs the command."""
        from dim.kb.compaction import bytes_by_age

        kb = self.open()
        info = kb.info() | {"bytes": bytes_by_age(kb)}
        if self.json:
            print(json.dumps(info, ensure_ascii=False, indent=2))
            return
        encoders = ", ".join(f"{name} ({count:,})" for name, count in info.pop("encoders").items())
        sizes = ", ".join(f"{name} {size:,}" for name, size in info.pop("bytes").items())
        lines = {**info, "encoders": encoders or "none"} | ({"bytes": sizes} if sizes else {})
        width = max(map(len, lines))
        for name, value in lines.items():
            print(f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value}")


@dataclass(kw_only=True)
class Versions(Existing):
    """Lists the versions."""

    json: bool = option("print JSON instead of a table", False)

    def run(self) -> None:
        """Runs the command."""
        versions = self.open().versions()
        if self.json:
            print(json.dumps([{**one, "time": one["time"].isoformat()} for one in versions], indent=2))
            return
        print("version  time                 entities")
        for one in versions:
            print(f"{one['version']:>7}  {one['time']:%Y-%m-%d %H:%M:%S}  {one['entities']:>8,}")


@dataclass(kw_only=True)
class Restore(Existing):
    """Makes an older version the newest."""

    version: int = option("its number, as `dim kb versions` lists it", positional=True, least=1,
                          metavar="VERSION")  # fmt: skip

    def run(self) -> None:
        """Runs the command."""
        kb = self.open()
        kb.restore(self.version)
        print(f"version {kb.version} is what version {self.version} was: {len(kb):,} entities")


@dataclass(kw_only=True)
class Export(Existing):
    """Writes every entity with its vector as Parquet."""

    file: Path = option("the Parquet file; replaced if it exists", positional=True, metavar="FILE")

    def run(self) -> None:
        """Runs the command."""
        from dim.common.locks import locked
        from dim.common.outputs import check_file

        if self.file.suffix != ".parquet":
            raise DIMError(f"{self.file} does not end in .parquet, the format of an export.")
        check_file(self.file)
        with locked(self.file, "dim kb export"):
            kb = self.open()
            kb.export(self.file)
        print(f"{len(kb):,} entities in {self.file}")


@dataclass(kw_only=True)
class Import(Existing):
    """Makes a knowledge base from an export, vectors included."""

    file: Path = option("a Parquet file that `dim kb export` wrote", positional=True, metavar="FILE")
    overwrite: bool = option("replace an existing one, which stays as a version", False)

    def run(self) -> None:
        """Runs the command."""
        from dim.kb.store import KnowledgeBase

        if self.file.suffix != ".parquet":
            raise DIMError(f"{self.file} is not a .parquet file; for others: dim kb create {self.kb} --from FILE")
        with self.creating("dim kb import"):
            kb = KnowledgeBase.create(self.kb, self.file, overwrite=self.overwrite, progress=True)
        print(f"{len(kb):,} entities in {kb.uri}")
