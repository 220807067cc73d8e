"""Segments of clips of held-out people, forged in stretches only, found as a scan finds them.

`python -m dfd_batch.evaluation.forged_segments CHECKPOINT WORK` prints AP and AR as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Checkpoint
from dfd_batch.evaluation import segments
from dfd_batch.evaluation.bootstrap import Estimate
from dfd_batch.evaluation.segments import Video
from dfd_batch.features.cnn import Embedder
from dfd_batch.features.flow import MotionMaps
from dfd_batch.features.motion import MotionEmbedder
from dfd_batch.judge.decide import Evidence, decide
from dfd_batch.judge.frames import Features, FrameJudge
from dfd_batch.judge.segments import find_segments
from dfd_batch.training.clips import ClipForge
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Image

FPS = 25.0
N_PAIRS = 300
"""Forged; about a third of them in stretches only."""


def measure(
    detector: Checkpoint, work: Path, n_pairs: int = N_PAIRS, untouched: bool = False
) -> dict[str, Estimate]:
    """Return AP and AR over the bounded forgeries among some pairs, and their genuine twins.

    Args:
        detector: With a temporal head.
        work: Of a training: its pools are forged.
        n_pairs: Pairs to forge.
        untouched: Without what archives do to media.

    Raises:
        UsageError: No consecutive frames of people that training leaves out.
    """
    config = TrainConfig(work=work, out=work, preprocessing=detector.card.preprocessing)
    forge = ClipForge(config, True, {"clip": 1.0}, untouched)
    judge = _Scan(detector)
    videos = []
    for number in range(n_pairs):
        pair = forge.pair(number)
        if 0 < pair.labels.sum() < len(pair.labels):
            truth = stretches(pair.labels)
            if not len(truth):
                continue
            for crops, true in ((pair.genuine, truth[:0]), (pair.fake, truth)):
                found, confidence = judge(crops)
                videos.append(Video(true, found, confidence, pair.group))
    return segments.measure(videos)


def stretches(labels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (M, 2) start and end in seconds of the forged stretches of frame labels (T,).

    Joined and dropped as a scan joins and drops segments: a frame inside a stretch where a held
    face happens to stand where it should does not part it.
    """
    found = find_segments(np.arange(len(labels)) / FPS, labels, 1 / FPS, median_frames=1)
    return np.array([(s.start_s, s.end_s) for s in found], np.float64).reshape(-1, 2)


class _Scan:
    """From the crops of a clip to its segments, by the networks and rules of a scan."""

    def __init__(self, detector: Checkpoint) -> None:
        self._card = detector.card
        self._embed = Embedder(detector, "cpu", 64)
        self._motion = (
            MotionEmbedder(detector, "cpu", 64) if detector.card.architecture.motion else None
        )
        self._maps = MotionMaps()
        self._judge = FrameJudge(detector, "cpu", self._embed.feature_dim)

    def __call__(self, crops: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return segments (K, 2) in seconds and their probabilities (K,)."""
        one = np.zeros(len(crops), np.int32)
        vectors, odds = self._embed(crops)
        if self._motion is not None:
            keys = one[:, None].astype(np.int64)
            vectors = np.concatenate([vectors, self._motion(self._maps(crops, keys), keys)], 1)
        (judged,) = self._judge([Features("video", vectors, odds, one, one)])
        seen = Evidence(
            media="video",
            fps=FPS,
            times_s=np.arange(len(crops)) / FPS,
            tracks=one,
            boxes=np.zeros((len(crops), 4), np.float32),
            logits=judged.pooled,
            frame_logits=judged.alone,
        )
        found = decide(seen, self._card)["segments"]
        places = np.array([[s["start_s"], s["end_s"]] for s in found], np.float64).reshape(-1, 2)
        return places, np.array([s["probability"] for s in found], np.float64)


def main() -> None:
    """Print the figures of one checkpoint on the pools of one work directory."""
    name, work = sys.argv[1:3]
    detector = checkpoint.load(name)
    told = {
        data: {k: asdict(v) for k, v in measure(detector, Path(work), untouched=bare).items()}
        for data, bare in (("degraded as in archives", False), ("not degraded", True))
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
