"""Page of the Space, to try the metric."""

import evaluate
from evaluate.utils import launch_gradio_widget

launch_gradio_widget(evaluate.load("mel_ranking.py"))
