"""`dim fetch-images`: the pictures that a raw release names by URL."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import Command, RawRelease
from dim.common.parser import option


@dataclass(kw_only=True)
class FetchImages(RawRelease, Command):
    """Downloads the pictures that a raw release names by URL, for `dim build --images`. Pictures of an earlier run are
    kept. Failures are listed in failed.jsonl, and tried again by the next run.
    """

    out: Path = option("folder for the pictures", metavar="DIR")
    contact: str = option("your mail address or URL, which the servers see")
    concurrency: int = option("downloads at a time", 2, least=1, most=1000, metavar="N")
    requests_per_second: float = option("requests to each host", 1.0, least=0.001, most=1000, metavar="X")

    def run(self) -> None:
        """Downloads, and prints the counts."""
        from dim.common.locks import locked
        from dim.corpora.fetch.download import Limits
        from dim.corpora.fetch.images import FAILED, fetch_images, picture_urls
        from dim.corpora.read import read_release

        limits = Limits(concurrency=self.concurrency, requests_per_second=self.requests_per_second)
        urls = picture_urls(read_release(self.name, self.raw, self.layout))
        with locked(self.out, "dim fetch-images", inside=True):
            report = fetch_images(urls, self.out, contact=self.contact, limits=limits)
        failed = f" ({self.out / FAILED})" if report.failures else ""
        print(f"{report.fetched:,} pictures fetched, {report.kept:,} there before, {len(report.failures):,} failed"
              f"{failed}")  # fmt: skip
