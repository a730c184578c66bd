"""The Space's page: the metric to try out."""

import evaluate
from evaluate.utils import launch_gradio_widget

launch_gradio_widget(evaluate.load("mel_ranking.py"))
