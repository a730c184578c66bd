"""RichpediaMEL as a `datasets` builder; `dim build richpediamel` writes the Parquet files from it.

    builder = RichpediaMEL(config_name="mentions", data_dir=RAW)
    builder.download_and_prepare()
    builder.as_dataset(split="train")

RAW is the folder of a raw release.
"""

from dim.corpora.build.builder import MELBuilder


class RichpediaMEL(MELBuilder):
    """RichpediaMEL: configs `mentions`, `entities` and `candidates`."""

    release = "richpediamel"
