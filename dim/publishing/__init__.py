"""To the Hub: models, datasets, metrics, Spaces and whole linkers, checked before anything is uploaded."""
