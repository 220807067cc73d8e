"""The temporal head on features whose forged frames are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfd_batch.checkpoint import Architecture
from dfd_batch.training import temporal_head
from dfd_batch.training.clip_features import ClipFeatures
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.evaluate import auc
from dfd_batch.training.temporal_figures import head_logits, judge_head

FRAMES, DIM = 12, 24


def clips(n_pairs: int, seed: int, people: int = 8, frames: int = FRAMES) -> ClipFeatures:
    """Twins; frames of a forged stretch carry a weak trace that no single frame is sure of.

    Every other clip, in both twins, has a trouble that looks a little like the trace.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.5, (n_pairs, 1, DIM)) + rng.normal(0, 0.3, (n_pairs, frames, DIM))
    x = np.repeat(x, 2, 0)
    labels = np.zeros((2 * n_pairs, frames), np.float32)
    for pair in range(n_pairs):
        first = int(rng.integers(0, frames // 2))
        labels[2 * pair + 1, first : first + frames // 2] = 1
        if pair % 2:
            x[2 * pair : 2 * pair + 2, int(rng.integers(frames)), 3] += 1.5
    x[..., 3] += 0.8 * labels
    logits = np.zeros(labels.shape, np.float32) + rng.normal(0, 0.1, labels.shape)
    return ClipFeatures(
        x.astype(np.float16),
        logits.astype(np.float32),
        labels,
        ["drift"] * 2 * n_pairs,
        [f"person {pair % people}" for pair in range(n_pairs) for _ in range(2)],
        ["overlay" if pair % 2 else "" for pair in range(n_pairs) for _ in range(2)],
    )


def settings(directory: Path) -> TrainConfig:
    return TrainConfig(
        work=directory,
        out=directory / "out",
        architecture=Architecture(temporal="gru", hidden=32, motion=0),
        temporal_epochs=25,
        temporal_learning_rate=5e-3,
    )


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> temporal_head.TemporalHead:
    return temporal_head.fit_head(clips(320, 0), settings(tmp_path_factory.mktemp("head")), DIM)


def test_it_finds_forged_clips_and_which_of_their_frames_are_forged(
    head: temporal_head.TemporalHead,
) -> None:
    fresh = clips(100, 1)
    clip, frame = head_logits(head, fresh)
    assert auc(fresh.clip_labels, clip) > 0.9
    fakes = range(1, len(fresh.labels), 2)
    inside = [auc(fresh.labels[i], frame[i]) for i in fakes]
    assert np.mean(inside) > 0.9
    # not by saying the same of the whole clip: the edges are seen
    middle = np.median([frame[i][fresh.labels[i] == 1].mean() for i in fakes])
    around = np.median([frame[i][fresh.labels[i] == 0].mean() for i in fakes])
    assert middle > around + 4.5  # cross-entropy alone: 3.9


def test_its_figures_stand_beside_those_of_the_mean_of_frames(
    head: temporal_head.TemporalHead,
) -> None:
    found = {(m.name, m.data): m for m in judge_head(head, clips(100, 2), "dfd train", "clips")}
    both = [found[f"clip AUC, {kind}", "clips: all"].value for kind in KINDS]
    assert both[0] > 0.9 and both[1] == pytest.approx(0.5, abs=0.1)
    where = "clips: troubled genuine ones, where 50% of the forgeries are found"
    alarms = [found[f"clip false alarms, {kind}", where] for kind in KINDS]
    assert alarms[0].value < 0.05 < 0.3 < alarms[1].value
    assert alarms[0].n == 50


KINDS = ("temporal head", "mean of frames")


@pytest.mark.parametrize("people", [1, 2, 6])
def test_it_learns_however_few_people_there_are(tmp_path: Path, people: int) -> None:
    trained = temporal_head.fit_head(clips(320, 0, people), settings(tmp_path), DIM)
    fresh = clips(100, 1)
    assert auc(fresh.clip_labels, head_logits(trained, fresh)[0]) > 0.8
