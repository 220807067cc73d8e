"""68 facial landmarks of face crops: where training cuts, blends and moves things.

The network is the small 68-point model of face-api.js (MIT), whose weights come with the training
data; without them the mean face is laid over the five points of the face detector, which are all
that scanning needs.
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

# fmt: off
MEAN_SHAPE = np.array([
    (31, 308), (39, 432), (60, 547), (81, 652), (122, 764), (185, 855), (260, 915),
    (357, 974), (500, 1010), (643, 974), (740, 915), (815, 855), (878, 764), (919, 652),
    (940, 547), (961, 432), (969, 308), (128, 193), (184, 152), (255, 140), (320, 148),
    (378, 169), (622, 169), (680, 148), (745, 140), (816, 152), (872, 193), (500, 307),
    (500, 392), (500, 470), (500, 541), (422, 589), (456, 600), (500, 609), (544, 600),
    (578, 589), (219, 292), (261, 271), (321, 271), (375, 301), (326, 317), (264, 317),
    (625, 301), (679, 271), (739, 271), (781, 292), (736, 317), (674, 317), (331, 742),
    (386, 712), (462, 690), (500, 699), (538, 690), (614, 712), (669, 742), (613, 791),
    (558, 818), (500, 827), (442, 818), (387, 791), (343, 741), (445, 731), (500, 730),
    (555, 731), (657, 741), (554, 766), (500, 770), (446, 766),
], np.float32) / 1000
# fmt: on
"""68 points (68, 2) of the mean upright face in units of the canonical crop: the Procrustes mean of
2,573 portraits, made symmetric."""
MEAN_FIVE = (
    np.array([(290, 301), (710, 301), (500, 555), (316, 737), (684, 737)], np.float32) / 1000
)
"""Where the face detector puts its five points (5, 2) on that face."""


def fit_mean_shape(five: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean face's 68 points (68, 2) laid over a detector's five (5, 2).

    A least-squares similarity transform, for those who lack the network's weights. On 400 portraits
    that the mean does not hold, the points lie 9.8 % of the distance between the eyes away from the
    network's (8.0 % without the jaw): enough for a hull, too coarse for lips and lids.
    """
    # As complex numbers a similarity transform is one factor and one shift.
    mean, there = MEAN_FIVE @ (1, 1j), five @ (1, 1j)
    centred = mean - mean.mean()
    factor = (centred.conj() * (there - there.mean())).sum() / (abs(centred) ** 2).sum()
    points = factor * (MEAN_SHAPE @ (1, 1j) - mean.mean()) + there.mean()
    return np.stack([points.real, points.imag], axis=1).astype(np.float32)


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
