"""The Parquet files of a dataset, and which of them a killed build has finished."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import datasets
import pyarrow as pa
from tqdm.auto import tqdm

from dim.common.files import write_json
from dim.common.parquet import Written, write_parquet
from dim.corpora.build.embed import MissingPicture, Row, with_pictures

SHARD_BYTES = 256 << 20  # of pictures; a killed build loses at most one shard
LEDGER = ".shards.json"
_FORMAT = 1  # to be raised when the same rows are written as other bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished Parquet file.

    Args:
        file: Its path in the dataset's folder.
        made_from: Checksum of its rows and pictures.
        written: Its size and checksum.
        missing: Pictures that its rows lack.
    """

    file: str
    made_from: str
    written: Written
    missing: tuple[MissingPicture, ...]


class ShardFolder:
    """A folder of shards, with a ledger of the finished ones.

    Args:
        folder: The folder; made if it does not exist.
        progress: Whether to show progress bars.
    """

    def __init__(self, folder: Path, progress: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._progress = progress
        ledger = folder / LEDGER
        self._finished = [_shard(entry) for entry in json.loads(ledger.read_text())] if ledger.is_file() else []

    def write(self, config: str, split: str, rows: Sequence[Row], features: datasets.Features) -> list[Shard]:
        """Writes a split, without the shards that an earlier run has finished from the same rows and pictures.

        Args:
            config: Name of the config, and of the folder of its shards.
            split: Name of the split.
            rows: Its rows; rows with the same picture should be neighbours.
            features: Columns and their types.

        Returns:
            The split's shards, in order.
        """
        (self.folder / config).mkdir(exist_ok=True)
        bounds = shard_bounds(rows)
        shards = []
        with tqdm(total=len(rows), desc=f"{config}/{split}", unit="row", disable=not self._progress) as bar:
            for number, (start, stop) in enumerate(pairwise(bounds)):
                stem = f"{config}/{split}-{number:05d}-of-{len(bounds) - 1:05d}"
                made_from = _checksum(rows[start:stop])
                shard = self._find(stem, made_from)
                if shard is None:
                    shard = self._write(stem, made_from, rows[start:stop], features, bar)
                    self._finished.append(shard)
                    write_json(self.folder / LEDGER, [asdict(entry) for entry in self._finished])
                else:
                    bar.update(stop - start)
                shards.append(shard)
        return shards

    def _find(self, stem: str, made_from: str) -> Shard | None:
        """The finished shard, if there is one."""
        for shard in self._finished:
            if shard.file.startswith(f"{stem}-") and shard.made_from == made_from:
                path = self.folder / shard.file
                if path.is_file() and path.stat().st_size == shard.written.size:
                    return shard
        return None

    def _write(self, stem: str, made_from: str, rows: Sequence[Row], features: datasets.Features, bar: tqdm) -> Shard:
        missing: list[MissingPicture] = []
        unnamed = self.folder / f"{stem}.parquet"
        written = write_parquet(unnamed, _counted(with_pictures(rows, missing), bar), features)
        file = f"{stem}-{written.sha256[:16]}.parquet"  # new content gets a new name, since caches go by names
        unnamed.replace(self.folder / file)
        return Shard(file, made_from, written, tuple(missing))


def shard_bounds(rows: Sequence[Row]) -> list[int]:
    """Divides rows into shards, of which each but the last has at least `SHARD_BYTES` of pictures.

    Args:
        rows: The rows of a split, at least one.

    Returns:
        The index of each shard's first row, and the number of rows.
    """
    bounds, weight = [0], 0
    for index, row in enumerate(rows):
        if index and row.pictures == rows[index - 1].pictures:
            continue  # stored once
        if weight >= SHARD_BYTES:
            bounds.append(index)
            weight = 0
        weight += sum(picture.path.stat().st_size for picture in row.pictures if picture.path is not None)
    return [*bounds, len(rows)]


def _counted(rows: Iterable[dict], bar: tqdm) -> Iterable[dict]:
    for row in rows:
        yield row
        bar.update()


def _checksum(rows: Sequence[Row]) -> str:
    """Checksum of rows, with the state of their pictures' files instead of the content."""
    digest = hashlib.sha256(f"{_FORMAT} {pa.__version__}".encode())
    for row in rows:
        files = [(file.name, file.reference, _state(file.path)) for file in row.pictures]
        digest.update(json.dumps([row.columns, files], sort_keys=True).encode())
    return digest.hexdigest()


def _state(path: Path | None) -> tuple[str, int, int] | None:
    return None if path is None else (str(path), path.stat().st_size, path.stat().st_mtime_ns)


def _shard(entry: dict) -> Shard:
    missing = tuple(MissingPicture(**one) for one in entry["missing"])
    return Shard(entry["file"], entry["made_from"], Written(**entry["written"]), missing)
