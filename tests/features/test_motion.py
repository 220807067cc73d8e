"""Motion features: what moves on its own is seen, the camera's motion is not."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from dfd_batch.catalog.objects import of_file
from dfd_batch.checkpoint import Architecture, Checkpoint, ModelCard, Preprocessing
from dfd_batch.features.cnn import FrameEncoder
from dfd_batch.features.flow import (
    CHANNELS,
    SIDE,
    TURNED_BY_MIRROR,
    FlowMaps,
    MotionMaps,
    grey,
    runs_of,
)
from dfd_batch.features.motion import MotionEmbedder, MotionEncoder
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.outcomes import UsageError
from dfd_batch.schema import CROPPED, MANIFEST
from dfd_batch.settings import Pools, Settings
from dfd_batch.stages import Crop, Embed, Judge, RunContext
from tests.media import moving_frames, write_video

SIZE = 96
Image = NDArray[np.uint8]


def face(dx: float = 0.0, dy: float = 0.0, degrees: float = 0.0, zoom: float = 1.0) -> Image:
    """A photographed face as a camera that moved sees it."""
    picture = skimage.data.astronaut()[:260, 90:350]
    m = cv2.getRotationMatrix2D((130, 130), degrees, zoom)
    m[:, 2] += (dx, dy)
    seen = cv2.warpAffine(picture, m, (260, 260), borderMode=cv2.BORDER_REFLECT_101)[30:230, 30:230]
    return np.asarray(cv2.resize(seen, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def maps_of(crops: list[Image]) -> dict[str, NDArray[np.float32]]:
    """The maps of one step by channel."""
    (step,) = FlowMaps()(grey(np.stack(crops)))
    return dict(zip(CHANNELS, step.astype(np.float32), strict=True))


def shift_of(crops: list[Image]) -> NDArray[np.float32]:
    """How far every cell away from the edge moved on its own, in pixels of 112."""
    step = maps_of(crops)
    return np.hypot(step["dx"], step["dy"])[2:-2, 2:-2]


@pytest.mark.parametrize(
    "camera", [{"dx": 4, "dy": -3}, {"dx": 14}, {"degrees": 3}, {"zoom": 1.05, "dx": 2}]
)
def test_the_cameras_motion_is_told_apart_from_that_of_parts(camera: dict[str, float]) -> None:
    step = maps_of([face(**camera), face()])
    whole = 4 * np.hypot(step["camera_x"], step["camera_y"])[2:-2, 2:-2]
    assert whole.mean() > 1
    assert np.median(shift_of([face(**camera), face()])) < whole.mean() / 6


def test_a_part_that_moves_on_its_own_is_found_where_it_is_and_to_a_tenth_of_a_pixel() -> None:
    eye = np.s_[30:54, 24:72]
    for px in (0.5, 2.0):
        moved = face()
        moved[eye] = face(dx=px * 200 / SIZE)[eye]
        step = maps_of([face(), moved])
        inside = np.median(step["dx"][5:7, 4:10])  # 8 px of 112 are 7 px of these crops
        assert abs(inside + px * 112 / SIZE) < 0.1 + 0.1 * px
        assert np.median(np.abs(step["dx"][9:13])) < 0.1


def test_light_blur_and_a_frame_that_stands_show_in_channels_of_their_own() -> None:
    still = maps_of([face(), face()])
    assert still["same"].min() == 1
    assert not still["dx"].any()
    lit = maps_of([face(), cv2.convertScaleAbs(face(), alpha=0.9)])
    assert np.median(lit["brighter"]) < -0.3
    assert np.median(lit["light"]) < -0.3
    soft = maps_of([face(), cv2.GaussianBlur(face(), (0, 0), 1.0)])
    assert np.median(soft["sharper"]) < -0.3
    assert abs(np.median(soft["brighter"])) < 0.1


def test_a_clip_mirrored_turns_the_signs_that_training_turns() -> None:
    crops = [face(), face(dx=3, dy=1, degrees=1)]
    seen, mirrored = maps_of(crops), maps_of([c[:, ::-1].copy() for c in crops])
    for name in CHANNELS:
        sign = -1 if name in TURNED_BY_MIRROR else 1
        apart = np.abs(sign * mirrored[name][:, ::-1] - seen[name])[2:-2, 2:-2]
        assert np.median(apart) < 0.05 + 0.1 * np.abs(seen[name]).mean(), name


def test_a_cut_or_an_even_picture_gives_finite_features() -> None:
    encoder = MotionEncoder(4).eval()
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    clip = np.stack([noise, np.zeros_like(noise), np.full_like(noise, 255), noise.T])
    maps = FlowMaps()(clip)
    assert np.isfinite(maps).all()
    with torch.inference_mode():
        assert torch.isfinite(encoder(torch.from_numpy(maps)[None])).all()


def test_runs_are_consecutive_equal_keys_and_never_too_long() -> None:
    keys = np.array([[0, 0]] * 3 + [[0, 1]] + [[1, 1]] * 70)
    runs = list(runs_of(keys))
    assert [i for run in runs for i in range(run.start, run.stop)] == list(range(74))
    assert [run.stop - run.start for run in runs] == [3, 1, 24, 23, 23]
    assert list(runs_of(keys[:0])) == []


@pytest.fixture(scope="module")
def detector() -> Checkpoint:
    torch.manual_seed(0)
    architecture = Architecture(encoder="mobilenetv2_035", hidden=16, motion=6)
    encoder, motion = FrameEncoder(architecture), MotionEncoder(6)
    head = TemporalHead(architecture, encoder.feature_dim)
    parts = {"encoder": encoder, "motion": motion, "temporal": head}
    weights = {f"{p}.{k}": v.numpy() for p, m in parts.items() for k, v in m.state_dict().items()}
    return Checkpoint(
        ModelCard(
            name="moving",
            version="1",
            description="",
            architecture=architecture,
            preprocessing=Preprocessing(crop_size=SIZE),
        ),
        weights,
    )


def trembling(n: int, seed: int) -> Image:
    rng = np.random.default_rng(seed)
    return np.stack([face(*rng.normal(0, 2, 2), degrees=float(rng.normal())) for _ in range(n)])


def test_a_crop_sees_the_neighbours_of_its_own_run_alone(detector: Checkpoint) -> None:
    maps, embedder = MotionMaps(), MotionEmbedder(detector, "cpu", micro_batch=4)

    def embed(crops: Image, runs: Any) -> Any:
        return embedder(maps(crops, runs), runs)

    crops = trembling(9, 0)
    runs = np.array([[0, 0]] * 4 + [[0, 1]] * 4 + [[1, 0]])
    whole = embed(crops, runs)
    apart = np.concatenate([embed(crops[:4], runs[:4]), embed(crops[4:8], runs[4:8])])
    np.testing.assert_allclose(whole[:8], apart, atol=0.02)
    assert np.abs(whole[:8]).sum(1).all()
    assert not whole[8].any()  # alone: nothing moved
    other = crops.copy()
    other[4] = 0
    assert np.array_equal(embed(other, runs)[:4], whole[:4])
    assert not np.allclose(embed(other, runs)[5], whole[5], atol=0.02)


def test_motion_weights_that_do_not_fit_the_card_are_refused(detector: Checkpoint) -> None:
    weights = {k: v for k, v in detector.weights.items() if not k.startswith("motion.out")}
    with pytest.raises(UsageError, match="motion weights"):
        MotionEmbedder(Checkpoint(detector.card, weights), "cpu", 8)


def cropped(name: str, media: str, crops: Image, **other: Any) -> dict[str, Any]:
    n = len(crops)
    return dict.fromkeys(CROPPED.names) | {
        "media_id": name,
        "uri": f"/{name}",
        "media": media,
        "fps": 25.0,
        "n_crops": n,
        "crops": crops.tobytes(),
        "crop_time_s": [i / 25 for i in range(n)],
        "crop_track": [0] * n,
        "crop_clip": [0] * n,
        "crop_box": [[0.0, 0.0, 40.0, 50.0]] * n,
        "crop_landmarks": [[0.0] * 10] * n,
    } | other  # fmt: skip


def judged(detector: Checkpoint, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    context = RunContext(
        Settings(pools=Pools(device="cpu")), "", "run", "id", date(2026, 1, 1), detector
    )
    table = Embed(context)(pa.Table.from_pylist(list(rows), schema=CROPPED))
    found: list[dict[str, Any]] = Judge(context)(table).to_pylist()
    return found


def test_videos_are_judged_by_their_motion_and_images_are_not(detector: Checkpoint) -> None:
    moving = trembling(6, 1)
    rows = (
        cropped("image", "image", moving[:1]),
        cropped("none", "video", moving[:0], outcome="no_face"),
        cropped("moving", "video", moving),
    )
    found = judged(detector, *rows)
    assert [r["outcome"] for r in found] == ["scored", "no_face", "scored"]
    weights = dict(detector.weights)
    weights["motion.out.weight"] = -weights["motion.out.weight"]
    other = judged(Checkpoint(detector.card, weights), *rows)
    assert other[0]["probability"] == found[0]["probability"]
    assert abs(other[2]["probability"] - found[2]["probability"]) > 1e-4


def test_crop_measures_the_motion_that_embed_would_measure(
    detector: Checkpoint, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "a.mp4", moving_frames(20, 400, 300))
    settings = Settings(pools=Pools(device="cpu"))
    context = RunContext(settings, "", "run", "id", date(2026, 1, 1), detector)
    crop = Crop(context)
    try:
        found = {name: getattr(of_file(video), name, None) for name in MANIFEST.names}
        (row,) = crop(pa.Table.from_pylist([found | {"attempt": 1}], schema=MANIFEST)).to_pylist()
    finally:
        crop._cell.close()
    assert row["n_crops"] > 1 and np.frombuffer(row["motion"], np.float16).any()
    rows = [row, row | {"motion": None, "motion_ms": None}]  # crops from elsewhere bring no maps
    table = Embed(context)(pa.Table.from_pylist(rows, schema=CROPPED))
    ours, other = (np.frombuffer(r["features"], np.float16) for r in table.to_pylist())
    np.testing.assert_allclose(ours, other, atol=0.02)
