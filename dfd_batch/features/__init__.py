"""From crops to feature vectors: the frame encoder."""
