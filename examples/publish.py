"""Lists the files that `dim push` would upload; `push(...)` uploads them.

make demo && python examples/publish.py
"""

from pathlib import Path

from dim.publishing.model import model_publication
from dim.publishing.space import metric_publication
from dim.publishing.upload import check_target

TARGET = "your-name/dim-namesakes"

check_target(TARGET)
# It refuses tokens, paths of this machine, and a missing licence.
model = model_publication(Path("demo/model"), TARGET, licence="apache-2.0")
print(model.listing())
print(metric_publication(Path("metrics/mel_ranking"), "your-name/mel_ranking").listing())
# from dim.publishing.upload import push; push(model) after `hf auth login`
