"""From feature vectors over time to a verdict: temporal head, pooling, calibration, decision."""
