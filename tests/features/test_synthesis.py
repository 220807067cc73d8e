"""The second look at stills: it counts for images alone, and only ever adds to suspicion."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture, Checkpoint, ModelCard, detector_id
from dfd_batch.evaluation.crops import CropJudge
from dfd_batch.features.cnn import Embedder, FrameEncoder
from dfd_batch.features.heat import HeatMapper
from dfd_batch.features.synthesis import either, network_of
from dfd_batch.schema import CROPPED
from dfd_batch.settings import load
from dfd_batch.stages import Embed, RunContext
from tests.e2e.detector import write_detector

ODDS = st.floats(-30, 30, width=32)


@given(ODDS, ODDS)
def test_either_is_the_chance_that_one_of_two_independent_things_is_true(
    a: float, b: float
) -> None:
    found = float(either(np.array([a]), np.array([b]))[0])
    assert expit(-found) == pytest.approx(expit(-a) * expit(-b), rel=1e-4, abs=1e-12)
    assert found >= max(a, b) - 1e-5
    assert found == float(either(np.array([b]), np.array([a]))[0])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_half_an_answer_is_none(broken: float) -> None:
    odds = np.array([broken, 1.5, 0.0], np.float32)
    other = np.array([2.0, broken, 0.0], np.float32)
    assert np.isnan(either(odds, other)).tolist() == [True, True, False]


def looking_twice(directory: Path, bias: float) -> Checkpoint:
    """Return the detector for tests with a second network, which is as sure as `bias` says."""
    base = checkpoint.load(write_detector(directory / "base"))
    architecture = base.card.architecture.model_copy(update={"synthesis": True})
    torch.manual_seed(1)
    network = FrameEncoder(network_of(architecture))
    torch.nn.init.constant_(network.head.bias, bias)
    weights = base.weights | {f"synthesis.{k}": v.numpy() for k, v in network.state_dict().items()}
    card = base.card.model_copy(update={"architecture": architecture})
    return checkpoint.save(directory / f"twice {bias:g}", card, weights)


def judge(directory: Path) -> CropJudge:
    return CropJudge(load({"checkpoint": str(directory), "pools": {"device": "cpu"}}))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (6, 96, 96, 3), np.uint8)


def test_only_stills_are_looked_at_twice(tmp_path: Path, crops: np.ndarray) -> None:
    looking_twice(tmp_path, 8.0)
    looking_twice(tmp_path, -20.0)
    once = judge(tmp_path / "base")
    sure, unsure = judge(tmp_path / "twice 8"), judge(tmp_path / "twice -20")
    stills = [crop[None] for crop in crops]
    assert (sure(stills) > 0.99).all()
    np.testing.assert_allclose(unsure(stills), once(stills), atol=1e-4)
    for looks in (sure, unsure):
        np.testing.assert_array_equal(looks([crops, crops[:2]], "video"),
                                      once([crops, crops[:2]], "video"))  # fmt: skip


def test_a_still_is_looked_at_the_same_among_whatever_else(
    tmp_path: Path, crops: np.ndarray
) -> None:
    found = looking_twice(tmp_path, 0.0)
    looks = judge(tmp_path / "twice 0")
    alone = np.concatenate([looks([crop[None]]) for crop in crops])
    np.testing.assert_allclose(looks([crop[None] for crop in crops]), alone, atol=1e-5)
    _, first = Embedder(found, "cpu")(crops)
    _, second = Embedder(found, "cpu", part="synthesis")(crops)
    expected = expit(either(first.astype(np.float64), second.astype(np.float64)))
    np.testing.assert_allclose(alone, expected, atol=1e-4)


def test_a_batch_may_hold_no_still_no_crop_or_no_row(tmp_path: Path, crops: np.ndarray) -> None:
    found = looking_twice(tmp_path, 0.0)
    settings = load({"checkpoint": str(tmp_path / "twice 0"), "pools": {"device": "cpu"}})
    embed = Embed(RunContext(settings, "", "for-tests", "", datetime.now(UTC).date(), found))
    nothing = embed(pa.Table.from_pylist([], schema=CROPPED))
    assert nothing.num_rows == 0
    lost = {"uri": "lost.jpg", "media": "image", "n_crops": 0, "crops": b""}
    film = {"uri": "a.mp4", "media": "video", "n_crops": 2, "crops": crops[:2].tobytes()}
    film |= {"crop_track": [0, 0], "crop_clip": [0, 0]}
    for rows in ([lost], [film], [lost, film]):
        table = embed(pa.Table.from_pylist(rows, schema=CROPPED))
        assert [len(odds) for odds in table.column("frame_logit").to_pylist()] == [
            row["n_crops"] for row in rows
        ]


@pytest.mark.parametrize("views", [1, 3])
def test_views_are_looked_at_twice_too(tmp_path: Path, crops: np.ndarray, views: int) -> None:
    looking_twice(tmp_path, 8.0)
    settings = {"checkpoint": str(tmp_path / "twice 8"), "pools": {"device": "cpu"}}
    found = CropJudge(load(settings | {"features": {"views": views}}))([crops[:1], crops[1:2]])
    assert (found > 0.99).all()


def test_the_map_of_a_still_is_that_of_the_surer_network(tmp_path: Path, crops: np.ndarray) -> None:
    once = HeatMapper(checkpoint.load(write_detector(tmp_path / "base")))
    sure, unsure = HeatMapper(looking_twice(tmp_path, 30)), HeatMapper(looking_twice(tmp_path, -30))
    assert np.array_equal(unsure.signed(crops, still=True), once.signed(crops))
    assert np.array_equal(sure.signed(crops), once.signed(crops))
    assert not np.allclose(sure.signed(crops, still=True), once.signed(crops))


def test_a_detector_without_it_keeps_its_fingerprint() -> None:
    """Else whole archives would be judged anew by the same weights."""
    plain = ModelCard(name="n", version="0", description="")
    assert detector_id(plain) == "9160703be7a6229b"
    twice = plain.model_copy(update={"architecture": Architecture(synthesis=True)})
    assert detector_id(twice) != detector_id(plain)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_second_network_that_overflows_gives_no_verdict(
    tmp_path: Path, crops: np.ndarray, broken: float
) -> None:
    looking_twice(tmp_path, broken)
    looks = judge(tmp_path / f"twice {broken:g}")
    assert np.isnan(looks([crops[:1], crops[1:2]])).all()
    assert np.isfinite(looks([crops], "video")).all()
