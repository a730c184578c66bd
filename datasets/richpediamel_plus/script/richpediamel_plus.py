"""RichpediaMEL plus as a `datasets` builder; `dim build richpediamel_plus` writes the Parquet files from it.

    builder = RichpediaMELPlus(config_name="mentions", data_dir=RAW, descriptions=FILE)
    builder.download_and_prepare()
    builder.as_dataset(split="train")

RAW is the folder of a raw release, FILE the JSON Lines of descriptions.
"""

from dim.corpora.build.builder import MELBuilder


class RichpediaMELPlus(MELBuilder):
    """RichpediaMEL plus: configs `mentions`, `entities` and `candidates`."""

    release = "richpediamel"
    plus = True
