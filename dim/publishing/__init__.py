"""Publishing models, datasets, metrics, Spaces and linkers on the Hub, with checks before the upload."""
