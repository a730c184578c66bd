"""WikiDiverse as a `datasets` builder; `dim build wikidiverse` writes the Parquet files from it.

    builder = WikiDiverse(config_name="mentions", data_dir=RAW)
    builder.download_and_prepare()
    builder.as_dataset(split="train")

RAW is the folder of a raw release.
"""

from dim.corpora.build.builder import MELBuilder


class WikiDiverse(MELBuilder):
    """WikiDiverse: configs `mentions`, `entities` and `candidates`."""

    release = "wikidiverse"
