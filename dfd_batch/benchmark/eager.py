"""The frame encoder as PyTorch runs it when nobody does anything about it: eager, float32."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dfd_batch import checkpoint as checkpoints
from dfd_batch.features.cnn import manipulated_logit, network, normalise


class EagerEncoder:
    """A checkpoint's frame encoder on the CPU.

    Args:
        detector: Name or folder of the checkpoint.
        batch: Crops per forward pass.
    """

    def __init__(self, detector: str, batch: int = 32) -> None:
        checkpoint = checkpoints.load(detector)
        self._card = checkpoint.card
        self._batch = batch
        self._encoder = network(checkpoint)
        self.preprocessing = checkpoint.card.preprocessing

    @torch.inference_mode()
    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the log-odds of manipulation (K,) of crops (K, S, S, 3)."""
        logits = []
        for start in range(0, len(crops), self._batch):
            x = normalise(torch.tensor(crops[start : start + self._batch]), self.preprocessing)
            _, out = self._encoder(x.contiguous())
            logits.append(manipulated_logit(out, self._card.architecture).numpy())
        return np.concatenate(logits)
