"""Where in a crop a network of single crops sees manipulation: Grad-CAM over its last feature map.

Selvaraju et al., Grad-CAM, ICCV 2017. Behind a global average pool and one linear layer it is the
older class activation map (Zhou et al., CVPR 2016): the cells of the map then add up to the
crop's log-odds by that network, but for the head's bias, so that maps of several crops share one
scale.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfd_batch.checkpoint import Checkpoint
from dfd_batch.features.cnn import FrameEncoder, manipulated_logit, network, normalise
from dfd_batch.features.synthesis import PART

Maps = NDArray[np.float32]


class HeatMapper:
    """A checkpoint's networks of frames with gradients; the temporal head has no part in its maps.

    Args:
        checkpoint: The detector.
        device: "cpu" or "cuda".
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self._preprocessing = checkpoint.card.preprocessing
        self._device = torch.device(device)
        self._networks = [network(checkpoint)]
        if checkpoint.card.architecture.synthesis:
            self._networks.append(network(checkpoint, PART))
        for made in self._networks:
            made.requires_grad_(False).to(self._device)

    def signed(self, crops: NDArray[np.uint8], still: bool = False) -> Maps:
        """Return what each cell of the feature map adds to a crop's log-odds, (N, h, w).

        Args:
            crops: (N, S, S, 3) RGB, N >= 1, S the checkpoint's crop size.
            still: Whether they are of stills: of two networks the surer one's cells are shown.
        """
        x = normalise(torch.tensor(crops).to(self._device), self._preprocessing)
        seen = [_cells(looks, x) for looks in (self._networks if still else self._networks[:1])]
        surest = np.argmax([odds for _, odds in seen], axis=0)
        return np.stack([seen[k][0][i] for i, k in enumerate(surest)])

    def __call__(self, crops: NDArray[np.uint8], still: bool = False) -> Maps:
        """Return heat maps (N, S, S): log-odds for manipulation per cell, at least 0.

        Args:
            crops: (N, S, S, 3) RGB, S the checkpoint's crop size.
            still: Whether they are of stills.
        """
        size = crops.shape[1]
        if not len(crops):
            return np.zeros((0, size, size), np.float32)
        maps = [cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)
                for cells in self.signed(crops, still)]  # fmt: skip
        heat: Maps = np.maximum(np.stack(maps), 0).astype(np.float32, copy=False)
        return heat


def _cells(encoder: FrameEncoder, x: Tensor) -> tuple[Maps, Maps]:
    """Return the cells (N, h, w) and the log-odds (N,) of normalised crops (N, 3, S, S)."""
    with torch.enable_grad():
        features = encoder.feature_map(x).requires_grad_()
        logits = encoder.head(features.mean(dim=(2, 3)))
        odds = manipulated_logit(logits, encoder.architecture)
        (gradient,) = torch.autograd.grad(odds.sum(), features)
    cells = (gradient.mean(dim=(2, 3), keepdim=True) * features).detach().sum(dim=1)
    return cells.float().cpu().numpy(), odds.detach().float().cpu().numpy()
