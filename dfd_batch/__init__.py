"""dfd-batch: scans large video and image archives for deepfakes."""

__version__ = "0.1.0"
