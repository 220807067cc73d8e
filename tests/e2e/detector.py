"""A small detector with fixed random weights: what a chain does with one, not how good it is."""

from __future__ import annotations

from pathlib import Path

import torch

from dfd_batch.checkpoint import Architecture, ModelCard, Preprocessing, save
from dfd_batch.features.cnn import FrameEncoder
from dfd_batch.judge.lstm import TemporalHead


def write_detector(directory: Path, temporal: str = "lstm") -> str:
    """Write a seeded, untrained checkpoint and return its path."""
    torch.manual_seed(0)
    architecture = Architecture(encoder="mobilenetv2_050", temporal=temporal, hidden=16)
    encoder = FrameEncoder(architecture)
    head = TemporalHead(architecture, encoder.feature_dim)
    weights = {f"encoder.{k}": v.numpy() for k, v in encoder.state_dict().items()}
    weights |= {f"temporal.{k}": v.numpy() for k, v in head.state_dict().items()}
    card = ModelCard(
        name="for-tests",
        version="0",
        description="random weights",
        architecture=architecture,
        preprocessing=Preprocessing(crop_size=96),
    )
    save(directory, card, weights)
    return str(directory)
