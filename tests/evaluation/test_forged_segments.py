"""Segments of forged clips: what is true of them, and how a judge of them is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfd_batch.checkpoint import Architecture, Checkpoint, ModelCard, Preprocessing
from dfd_batch.evaluation import forged_segments
from dfd_batch.features.cnn import FrameEncoder
from dfd_batch.features.motion import MotionEncoder
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.training import pools
from dfd_batch.training.clips import ClipForge
from tests.training.conftest import face_image, template


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("segments"), np.random.default_rng(0)
    common = {"landmarks": template() * 80, "canonical_px": 64.0, "label": 0}
    faces = [
        pools.Face(face_image(80, rng), file=f"{s}.mp4", group=f"s{s}", frame=t, **common)
        for s in range(16)
        for t in range(24)
    ]
    pools.write(root / "pools" / "mine", faces)
    return root


@pytest.fixture(scope="module")
def detector() -> Checkpoint:
    torch.manual_seed(0)
    own = Architecture(encoder="mobilenetv2_035", hidden=16, motion=6)
    encoder = FrameEncoder(own)
    parts = {
        "encoder": encoder,
        "motion": MotionEncoder(6),
        "temporal": TemporalHead(own, encoder.feature_dim),
    }
    weights = {f"{p}.{k}": v.numpy() for p, m in parts.items() for k, v in m.state_dict().items()}
    small = Preprocessing(crop_size=48)
    card = ModelCard(name="a", version="1", description="", architecture=own, preprocessing=small)
    return Checkpoint(card, weights)


def test_stretches_are_half_open_seconds_joined_as_segments_are() -> None:
    labels = np.zeros(40, np.float32)
    labels[2:6] = labels[8:12] = 1  # two frames between them
    labels[30:33] = 1  # .12 s is too short, and too far away
    np.testing.assert_allclose(forged_segments.stretches(labels), [[0.08, 0.48]])
    assert forged_segments.stretches(np.zeros(3, np.float32)).shape == (0, 2)


def test_a_detector_is_measured_and_one_that_says_the_truth_is_perfect(
    work: Path, detector: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = forged_segments.measure(detector, work, 6)
    assert {"AP@0.5", "AR@10"} <= set(found)
    assert found["AP@0.5"].value is not None
    assert found["AP@0.5"].value < 0.9
    said: list[Any] = []
    made = ClipForge.pair

    def pair(self: ClipForge, number: int) -> Any:
        one = made(self, number)
        true = forged_segments.stretches(one.labels)
        if 0 < one.labels.sum() < len(one.labels) and len(true):
            said.extend([np.zeros((0, 2)), true])
        return one

    def truth(self: Any, crops: Any) -> Any:
        places = said.pop(0)
        return places, np.ones(len(places))

    monkeypatch.setattr(ClipForge, "pair", pair)
    monkeypatch.setattr(forged_segments._Scan, "__call__", truth)
    assert forged_segments.measure(detector, work, 6)["AP@0.5"].value == 1
