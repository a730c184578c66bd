"""Systems that are evaluated: baselines, zero-shot towers, DIM."""
