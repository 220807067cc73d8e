"""A head that has never learned a kind of forged clips, measured on that kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture, ModelCard, Preprocessing
from dfd_batch.evaluation import left_out
from dfd_batch.features.cnn import FrameEncoder
from dfd_batch.features.motion import MotionEncoder
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.outcomes import UsageError
from dfd_batch.training import pools
from dfd_batch.training.clip_features import ClipFeatures
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.temporal_head import fit_head
from tests.training.conftest import face_image, template


def detector(directory: Path, temporal: Literal["lstm", "none"]) -> str:
    torch.manual_seed(0)
    own = Architecture(
        encoder="mobilenetv2_035",
        temporal=temporal,
        hidden=16,
        motion=6 if temporal != "none" else 0,
    )
    parts: dict[str, Any] = {"encoder": FrameEncoder(own)}
    if temporal != "none":
        dim = parts["encoder"].feature_dim
        parts |= {"motion": MotionEncoder(6), "temporal": TemporalHead(own, dim)}
    weights = {f"{p}.{k}": v.numpy() for p, m in parts.items() for k, v in m.state_dict().items()}
    small = Preprocessing(crop_size=48)
    card = ModelCard(name="a", version="1", description="", architecture=own, preprocessing=small)
    checkpoint.save(directory, card, weights)
    return str(directory)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    rng = np.random.default_rng(0)
    common: dict[str, Any] = {"landmarks": template() * 80, "canonical_px": 64.0, "label": 0}
    faces = [
        pools.Face(face_image(80, rng), file=f"{s}.mp4", group=f"s{s}", frame=t, **common)
        for s in range(16)
        for t in range(8)
    ]
    pools.write(tmp_path / "pools" / "mine", faces)
    return TrainConfig(
        work=tmp_path, out=tmp_path, clips=80, clip_frames=8, temporal_epochs=1, loaders=0
    )


def test_every_kind_is_measured_by_a_head_that_learned_from_the_others(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[set[str]] = []

    def spied(train: ClipFeatures, *given: Any) -> TemporalHead:
        learned.append(set(train.operations))
        return fit_head(train, *given)

    monkeypatch.setattr(left_out, "fit_head", spied)
    found = left_out.measure(detector(tmp_path / "d", "lstm"), config)
    kinds = set.union(*learned)
    assert len(learned) == len(kinds) > 3
    assert [kinds - rest for rest in learned] == [{kind} for kind in sorted(kinds)]
    for of_kinds in found.values():
        assert set(of_kinds) <= kinds
        for unseen in of_kinds.values():
            assert all(0 <= f.value <= 1 for f in (unseen.learned, unseen.left_out, unseen.mean))
            assert unseen.learned.n == unseen.left_out.n == unseen.mean.n
    assert any(u.learned != u.left_out for of in found.values() for u in of.values())
    learned.clear()
    alone = left_out.measure(str(tmp_path / "d"), config, ["static"])
    assert len(learned) == 1 and all(set(of) <= {"static"} for of in alone.values())


def test_a_detector_of_frames_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="judges frames alone"):
        left_out.measure(detector(tmp_path / "d", "none"), config)
