"""Where in a crop the frame encoder sees manipulation: Grad-CAM over its last feature map.

Selvaraju et al., Grad-CAM, ICCV 2017. Behind a global average pool and one linear layer it is the
older class activation map (Zhou et al., CVPR 2016): the cells of the map then add up to the
crop's log-odds, but for the head's bias, so that maps of several crops share one scale.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dfd_batch.checkpoint import Checkpoint
from dfd_batch.features.cnn import FrameEncoder, load_part, manipulated_logit, normalise


class HeatMapper:
    """A checkpoint's frame encoder with gradients; the temporal head has no part in its maps.

    Args:
        checkpoint: The detector.
        device: "cpu" or "cuda".
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self._card = checkpoint.card
        self._device = torch.device(device)
        encoder = FrameEncoder(self._card.architecture)
        load_part(encoder, checkpoint, "encoder")
        self._encoder = encoder.eval().requires_grad_(False).to(self._device)

    def signed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what each cell of the feature map adds to a crop's log-odds, (N, h, w).

        Args:
            crops: (N, S, S, 3) RGB, N >= 1, S the checkpoint's crop size.
        """
        x = normalise(torch.tensor(crops).to(self._device), self._card.preprocessing)
        with torch.enable_grad():
            features = self._encoder.feature_map(x).requires_grad_()
            logits = self._encoder.head(features.mean(dim=(2, 3)))
            odds = manipulated_logit(logits, self._card.architecture)
            (gradient,) = torch.autograd.grad(odds.sum(), features)
        cells = gradient.mean(dim=(2, 3), keepdim=True) * features
        return np.asarray(cells.detach().sum(dim=1).float().cpu().numpy(), np.float32)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return heat maps (N, S, S): log-odds for manipulation per cell, at least 0.

        Args:
            crops: (N, S, S, 3) RGB, S the checkpoint's crop size.
        """
        size = crops.shape[1]
        if not len(crops):
            return np.zeros((0, size, size), np.float32)
        maps = [cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)
                for cells in self.signed(crops)]  # fmt: skip
        heat: NDArray[np.float32] = np.maximum(np.stack(maps), 0).astype(np.float32, copy=False)
        return heat
