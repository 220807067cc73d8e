"""From frames to tracked face crops: detect, track, crop."""
