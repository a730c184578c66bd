"""The registry of raw layouts. To add one, write a module with a `LAYOUT` and name it in `_READERS`."""

from dim.corpora.readers import ghmfc, jsonl, kgmel, melart, melbench, mimic, wikidiverse

_READERS = (melbench, ghmfc, mimic, kgmel, wikidiverse, melart, jsonl)

LAYOUTS = {name: reader.LAYOUT for reader in _READERS for name in reader.LAYOUT.names}
"""Every layout by each of its names."""

KINDS = tuple(kind for reader in _READERS for kind in reader.LAYOUT.kinds)
"""Every kind of raw file."""
