"""What changes from one face crop to the next, measured in a grid of cells.

Dense inverse search (Kroeger et al., ECCV 2016) finds where everything was a frame ago, one
least-squares step per cell (Lucas and Kanade, IJCAI 1981) makes that finer than a pixel's tenth,
and a robust affine fit takes the camera's and the head's common motion out. What is left tells of
parts that move, stand still, brighten or blur on their own. Computed, not learned: a network that
reads these maps needs hundreds of clips where one of pixels needs tens of thousands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 112
"""Of the grey crops in pixels: about the resolution that faces have in archived video."""
CELLS = 14
"""Along each side of a crop."""
CHANNELS = (
    "dx",  # motion since the frame before in pixels, without the camera's
    "dy",
    "camera_x",
    "camera_y",
    "change",  # log of the mean difference to the frame before
    "rest",  # the same, with motion and light taken out
    "light",  # how much brighter along the motion
    "level",  # brightness
    "brighter",  # of the cell itself, whatever moved
    "sharpness",  # log of the energy of fine detail
    "sharper",
    "texture",  # log of the gradients' energy: how far the motion can be trusted
    "same",  # share of pixels that have not changed at all
    "uneven",  # log of the motion's variance inside the cell
)
TURNED_BY_MIRROR = ("dx", "camera_x")
TURNED_BY_REVERSAL = ("dx", "dy", "camera_x", "camera_y", "light", "brighter", "sharper")
"""Channels that (nearly) change their sign when a clip runs backwards."""

FINEST_SCALE, DESCENTS = 1, 12
"""Of dense inverse search: half resolution, the step per cell does the rest."""
FURTHEST_STEP_PX = 1.0
ROBUST_FITS = 4

Greys = NDArray[np.uint8]
Floats = NDArray[np.float32]
Maps = NDArray[np.float16]
LONGEST_RUN = 32
"""Longer runs are cut, as the temporal head cuts them."""
_LARGEST = 60.0
"""Beyond it a map says no more than "a cut"."""


def grey(crops: NDArray[np.uint8]) -> Greys:
    """Return crops (K, S, S, 3) as the motion encoder sees them, (K, 112, 112)."""
    out = np.empty((len(crops), SIDE, SIDE), np.uint8)
    for place, crop in zip(out, crops, strict=True):
        flat = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        smaller = cv2.INTER_AREA if len(flat) > SIDE else cv2.INTER_LINEAR
        cv2.resize(flat, (SIDE, SIDE), dst=place, interpolation=smaller)
    return out


class FlowMaps:
    """Maps of consecutive grey crops; holds the flow's buffers, so one for each thread."""

    def __init__(self) -> None:
        flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        flow.setFinestScale(FINEST_SCALE)
        flow.setGradientDescentIterations(DESCENTS)
        flow.setVariationalRefinementIterations(0)
        self._flow = flow
        x, y = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
        self._x, self._y = x, y
        unit = (np.arange(CELLS) + 0.5) / CELLS * 2 - 1
        at_x, at_y = np.meshgrid(unit, unit)
        self._places = np.stack([np.ones_like(at_x), at_x, at_y], -1).reshape(-1, 3)

    def __call__(self, greys: Greys) -> Maps:
        """Return the maps (T - 1, C, 14, 14) of crops (T, 112, 112) of one run, T >= 1."""
        n_steps = len(greys) - 1
        out = np.zeros((n_steps, len(CHANNELS), CELLS, CELLS), np.float32)
        texture = np.zeros((n_steps, CELLS, CELLS), np.float32)
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # threads change the flow, and actors have a core each
        try:
            before = _Crop(greys[0])
            for step, grey_crop in enumerate(greys[1:]):
                this = _Crop(grey_crop)
                texture[step] = self._step(this, before, out[step])
                before = this
        finally:
            cv2.setNumThreads(threads)
        moved = out[:, :2].reshape(n_steps, 2, CELLS * CELLS).transpose(0, 2, 1)
        camera = self._camera(moved, texture.reshape(n_steps, CELLS * CELLS))
        camera = camera.transpose(0, 2, 1).reshape(n_steps, 2, CELLS, CELLS)
        out[:, :2] -= camera
        out[:, 2:4] = camera / 4
        return np.clip(out, -_LARGEST, _LARGEST).astype(np.float16)

    def _step(self, this: _Crop, before: _Crop, out: Floats) -> Floats:
        """Fill the maps (C, 14, 14) of a step but for the camera; return the texture (14, 14)."""
        flow = self._flow.calc(this.grey, before.grey, None)
        flow_x, flow_y = flow[..., 0], flow[..., 1]
        moved = cv2.remap(
            before.values,
            self._x + flow_x,
            self._y + flow_y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        apart = this.values - moved
        light = _pool(apart)
        apart = apart - cv2.resize(light, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        xx, yy, xy, xt, yt = (
            _pool(v)
            for v in (
                this.dx * this.dx,
                this.dy * this.dy,
                this.dx * this.dy,
                this.dx * apart,
                this.dy * apart,
            )
        )
        texture = xx + yy
        steady = 2.0 + 0.02 * texture
        a, d = xx + steady, yy + steady
        scale = 1 / (a * d - xy * xy)
        mean_x, mean_y = _pool(flow_x), _pool(flow_y)
        most = FURTHEST_STEP_PX
        x = mean_x + np.clip((d * xt - xy * yt) * scale, -most, most)
        y = mean_y + np.clip((a * yt - xy * xt) * scale, -most, most)
        change = cv2.absdiff(this.grey, before.grey)
        spread = _pool(flow_x * flow_x + flow_y * flow_y) - mean_x**2 - mean_y**2
        out[:2] = x, y
        out[4:] = (
            np.log1p(_pool(change.astype(np.float32))),
            np.log1p(_pool(np.abs(apart))),
            light / 4,
            (this.level - 128) / 64,
            (this.level - before.level) / 8,
            np.log1p(this.detail),
            np.log((this.detail + 0.3) / (before.detail + 0.3)),
            np.log1p(texture),
            _pool((change == 0).astype(np.float32)),
            np.log1p(10 * np.maximum(spread, 0)),
        )
        return texture

    def _camera(self, flow: Floats, texture: Floats) -> NDArray[np.float64]:
        """Return the affine motion (T, N, 2) that most of the textured cells (T, N) share."""
        flow64 = flow.astype(np.float64)
        trust = np.minimum(texture, 60).astype(np.float64) + 0.5
        weight = trust
        fitted = np.zeros_like(flow64)
        for _ in range(ROBUST_FITS):
            weighted = (self._places * weight[..., None]).transpose(0, 2, 1)
            gram = weighted @ self._places + 1e-6 * np.eye(3)
            fitted = self._places @ np.linalg.solve(gram, weighted @ flow64)
            off = np.linalg.norm(flow64 - fitted, axis=-1)
            usual = np.maximum(1.5 * np.median(off, axis=-1, keepdims=True), 0.03)
            weight = trust / (1 + np.square(off / usual))
        return fitted


def runs_of(keys: NDArray[np.int64]) -> Iterator[slice]:
    """Yield the stretches of consecutive crops with equal keys, cut where they are too long.

    Args:
        keys: (K, n) what the crops of one run share (object, track, clip), in time order.
    """
    edges = np.flatnonzero((keys[1:] != keys[:-1]).any(1)) + 1
    for part in np.split(np.arange(len(keys)), edges) if len(keys) else ():
        for piece in np.array_split(part, -(-len(part) // LONGEST_RUN)):
            yield slice(int(piece[0]), int(piece[-1]) + 1)


class MotionMaps:
    """What a motion encoder reads of an object; holds the flow's buffers, so one per thread."""

    def __init__(self) -> None:
        self._maps = FlowMaps()

    def __call__(self, crops: NDArray[np.uint8], keys: NDArray[np.int64]) -> Maps:
        """Return the maps (M, C, 14, 14) of all steps of all runs, one run after the other.

        Args:
            crops: (K, S, S, 3), in time order inside each run.
            keys: (K, n) of `runs_of`.
        """
        made = [self._maps(grey(crops[run])) for run in runs_of(keys)]
        return np.concatenate([*made, np.empty((0, len(CHANNELS), CELLS, CELLS), np.float16)])


class _Crop:
    """A grey crop and what both of its steps need of it."""

    def __init__(self, grey_crop: Greys) -> None:
        self.grey = grey_crop
        self.values = grey_crop.astype(np.float32)
        self.dx = cv2.Sobel(self.values, cv2.CV_32F, 1, 0, scale=1 / 8)
        self.dy = cv2.Sobel(self.values, cv2.CV_32F, 0, 1, scale=1 / 8)
        fine = self.values - cv2.GaussianBlur(self.values, (3, 3), 0)
        self.detail, self.level = _pool(fine * fine), _pool(self.values)


def _pool(x: Any) -> Floats:
    """Return the means of cells (14, 14)."""
    return np.asarray(cv2.resize(x, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)
