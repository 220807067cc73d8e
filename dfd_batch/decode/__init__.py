"""From an object to sampled frames: fetch, sniff, sample, video, image, cell."""
