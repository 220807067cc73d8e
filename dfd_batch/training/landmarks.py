"""68 facial landmarks of face crops: where training cuts, blends and moves things.

The network is the small 68-point model of face-api.js (MIT), whose weights come with the training
data. It is a tool of training alone; scanning needs the five points of the face detector.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

LEFT_EYE, RIGHT_EYE, NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT = slice(36, 42), slice(42, 48), 30, 48, 54


def _same(x: Tensor, stride: int) -> Tensor:
    """Return x padded as TensorFlow's "same" 3x3 convolution pads."""
    h, w = x.shape[2:]
    ph = max((-(-h // stride) - 1) * stride + 3 - h, 0)
    pw = max((-(-w // stride) - 1) * stride + 3 - w, 0)
    return F.pad(x, (pw // 2, pw - pw // 2, ph // 2, ph - ph // 2))


class _Separable(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise_filter = nn.Parameter(torch.zeros(n_in, 1, 3, 3))
        self.pointwise_filter = nn.Parameter(torch.zeros(n_out, n_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        x = _same(x, self.stride)
        x = F.conv2d(x, self.depthwise_filter, None, self.stride, groups=x.shape[1])
        return F.conv2d(x, self.pointwise_filter, self.bias)


class _First(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.zeros(n_out, n_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(_same(x, 2), self.filters, self.bias, 2)


class _Dense(nn.Module):
    def __init__(self, n_in: int, n_out: int, first: bool = False) -> None:
        super().__init__()
        self.conv0 = _First(n_in, n_out) if first else _Separable(n_in, n_out, 2)
        self.conv1, self.conv2, self.conv3 = (_Separable(n_out, n_out, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.conv0(x))
        b = self.conv1(a)
        c = self.conv2(F.relu(a + b))
        d = self.conv3(F.relu(a + b + c))
        return F.relu(a + b + c + d)


class Landmark68(nn.Module):
    """Points (N, 68, 2) in 0..1 of the crop, from RGB crops (N, 3, H, W) with values 0..255."""

    mean: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.dense0, self.dense1 = _Dense(3, 32, first=True), _Dense(32, 64)
        self.dense2, self.dense3 = _Dense(64, 128), _Dense(128, 256)
        self.fc = nn.Linear(256, 136)
        mean = torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.load_state_dict(safetensors.torch.load_file(weights))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the points (N, 68, 2) of crops (N, 3, H, W)."""
        x = F.interpolate(x, (112, 112), mode="bilinear", align_corners=False, antialias=True)
        x = (x - self.mean) / 255
        x = self.dense3(self.dense2(self.dense1(self.dense0(x))))
        points: Tensor = self.fc(F.avg_pool2d(x, 7, 2).flatten(1))
        return points.view(-1, 68, 2)

    @torch.inference_mode()
    def find(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return landmarks (N, 68, 2) in pixels of square RGB crops of any sizes."""
        points = []
        for crop in crops:
            x = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float()
            points.append(self(x)[0].numpy() * np.float32(crop.shape[0]))
        return np.stack(points)


def five_points(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return eyes, nose and mouth corners (5, 2) of 68 landmarks (68, 2)."""
    return np.stack(
        [
            landmarks[LEFT_EYE].mean(0),
            landmarks[RIGHT_EYE].mean(0),
            landmarks[NOSE_TIP],
            landmarks[MOUTH_LEFT],
            landmarks[MOUTH_RIGHT],
        ]
    )
