"""WikiDiverse plus as a `datasets` builder; `dim build wikidiverse_plus` writes the Parquet files from it.

    builder = WikiDiversePlus(config_name="mentions", data_dir=RAW, descriptions=FILE)
    builder.download_and_prepare()
    builder.as_dataset(split="train")

RAW is the folder of a raw release, FILE the JSON Lines of descriptions.
"""

from dim.corpora.build.builder import MELBuilder


class WikiDiversePlus(MELBuilder):
    """WikiDiverse plus: configs `mentions`, `entities` and `candidates`."""

    release = "wikidiverse"
    plus = True
