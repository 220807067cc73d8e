from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training import pools
from dfd_batch.training.pools import Face, Image, Points


def _arc(centre: tuple[float, float], radii: tuple[float, float], n: int, span: float) -> Points:
    angle = np.linspace(0, span, n, endpoint=span < 2 * np.pi)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], 1)


def template() -> Points:
    """68 points of an upright face in a unit square."""
    jaw = _arc((0.5, 0.45), (0.3, 0.38), 17, np.pi)[::-1]
    brows = [np.stack([np.linspace(a, a + 0.18, 5), np.full(5, 0.33)], 1) for a in (0.24, 0.58)]
    bridge = np.stack([np.full(4, 0.5), np.linspace(0.4, 0.54, 4)], 1)
    nostrils = np.stack([np.linspace(0.44, 0.56, 5), np.full(5, 0.58)], 1)
    eyes = [_arc((x, 0.41), (0.06, 0.025), 6, 2 * np.pi) for x in (0.35, 0.65)]
    lips = [_arc((0.5, 0.68), r, n, 2 * np.pi) for r, n in (((0.12, 0.05), 12), ((0.08, 0.02), 8))]
    return np.concatenate([jaw, *brows, bridge, nostrils, *eyes, *lips]).astype(np.float32)


def face_image(side: int, rng: Generator) -> Image:
    """A photographed face, lit and tinted a little differently every time."""
    face = cv2.resize(skimage.data.astronaut()[0:220, 110:330], (side, side))
    tint = rng.uniform(0.8, 1.1, 3)
    return np.clip(face * tint + rng.normal(0, 4, face.shape), 0, 255).astype(np.uint8)


def painted(image: Image) -> Image:
    """The toy manipulation: bars over the face that any network can learn to see."""
    out, side = image.copy(), image.shape[0]
    for top in (0.3, 0.5, 0.7):
        out[int(top * side) : int((top + 0.1) * side), side // 5 : -side // 5] = 255
    return out


def swapped(image: Image) -> Image:
    """The picture with another face inside the landmarks of `template`."""
    side = image.shape[0]
    hull = cv2.convexHull(template() * side).astype(np.int32)
    inside = cv2.fillConvexPoly(np.zeros((side, side), np.uint8), hull, 1)
    return np.where(inside[..., None] > 0, cv2.flip(image, 0), image)


def _faces(name: str, side: int, n: int, seed: int) -> list[Face]:
    rng = np.random.default_rng(seed)
    points = template() * side
    made = []
    for i in range(n):
        group = f"{name}-{i // 8 if name == 'clips' else i}"
        genuine = face_image(side, rng)
        common = {"landmarks": points, "canonical_px": side * 0.8, "group": group}
        if name != "generated":
            file = f"{name}/{i // 8 if name == 'clips' else i}"
            made.append(Face(genuine, file=file, label=0, frame=i % 8, **common))
        if name in {"generated", "dfdc", "dfdc_dev"}:
            made.append(Face(painted(genuine), file=f"{name}/{i}f", label=1, **common))
    return made


@pytest.fixture(scope="session")
def toy_pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "pools"
    for seed, (name, n) in enumerate(
        {"dfdc": 24, "dfdc_dev": 16, "portraits": 24, "clips": 128, "generated": 24}.items()
    ):
        pools.write(root / name, _faces(name, 80, n, seed))
    return root


@pytest.fixture
def work(tmp_path: Path, toy_pools: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / "pools").symlink_to(toy_pools)
    return directory


@pytest.fixture
def face() -> tuple[NDArray[np.uint8], Points]:
    return face_image(160, np.random.default_rng(0)), template() * 160
