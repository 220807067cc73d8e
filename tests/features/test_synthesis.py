"""The second look at stills: it counts for images alone, and only ever adds to suspicion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
from dfd_batch.settings import load
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
