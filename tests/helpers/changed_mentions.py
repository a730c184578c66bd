"""Datasets whose mentions a test changes."""

import shutil

import datasets


def with_columns(source, folder, change):
    """A copy of a dataset whose mentions `change` has changed, as a list of rows for each split."""
    shutil.copytree(source, folder)
    for split in ("train", "validation"):
        path = folder / "mentions" / f"{split}.parquet"
        rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(folder / "cache"))
        rows = rows.cast_column("image", datasets.Image(decode=False))
        features = datasets.Features({**rows.features, "region": datasets.List(datasets.Value("int32"))})
        datasets.Dataset.from_list(change(rows.to_list()), features=features).to_parquet(str(path))
    return str(folder)
