"""From genuine media to a checkpoint: data, forge, fit, evaluate."""
