"""From the crops' features to log-odds per frame: the image path and the video path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd_batch.checkpoint import Checkpoint, Pooling
from dfd_batch.judge.lstm import ClipScorer
from dfd_batch.judge.segments import MAX_CLIP_FRAMES

FEWEST_FRAMES = 4
"""Of a run that the temporal head judges; what is shorter is judged as stills are."""


@dataclass(frozen=True)
class Features:
    """One object's crops after the encoder, ordered by (clip, track, time)."""

    media: str
    """`image` or `video`."""
    vectors: NDArray[np.float16]
    """(K, D) of the encoder and, beside it, of motion."""
    frame_logits: NDArray[np.float32]
    """(K,) the encoder's own log-odds, of stills those of both networks."""
    tracks: NDArray[np.int32]
    """(K,) persons over time."""
    clips: NDArray[np.int32]
    """(K,) runs of consecutive frames."""


@dataclass(frozen=True)
class Odds:
    """Log-odds of manipulation of one object's crops."""

    pooled: NDArray[np.float32]
    """(K,) of each frame, mixed with its clip's: the verdict is pooled from these."""
    alone: NDArray[np.float32]
    """(K,) of each frame by itself: they tell where in time, as a clip's would blur its edges."""

    @property
    def finite(self) -> bool:
        """Whether all of them are numbers."""
        return bool(np.isfinite(self.pooled).all() and np.isfinite(self.alone).all())


class FrameJudge:
    """Gives every crop its log-odds of manipulation: the CNN's for images, the LSTM's for clips.

    Args:
        checkpoint: The detector; with `temporal = "none"` videos go the image way too.
        device: "cpu" or "cuda".
        feature_dim: D.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, feature_dim: int) -> None:
        self._card = checkpoint.card
        self._scorer = (
            None
            if checkpoint.card.architecture.temporal == "none"
            else ClipScorer(checkpoint, device, feature_dim)
        )

    def __call__(self, objects: Sequence[Features]) -> list[Odds]:
        """Return the odds of each object; the clips of all objects share one forward pass."""
        odds = [Odds(item.frame_logits.copy(), item.frame_logits.copy()) for item in objects]
        if self._scorer is None:
            return odds
        places: list[tuple[int, NDArray[np.intp]]] = []
        for i, item in enumerate(objects):
            if item.media == "video":
                for at in clip_runs(item.tracks, item.clips):
                    if len(at) < FEWEST_FRAMES:
                        as_stills = self._as_stills(item.frame_logits[at])
                        odds[i].pooled[at] = odds[i].alone[at] = as_stills
                    else:
                        places.append((i, at))
        scored = self._scorer([objects[i].vectors[at] for i, at in places])
        for (i, at), (clip_logit, frame_logits) in zip(places, scored, strict=True):
            own = objects[i].frame_logits[at]
            odds[i].pooled[at] = mixed(clip_logit, frame_logits, own, self._card.pooling)
            odds[i].alone[at] = frame_logits
        return odds

    def _as_stills(self, own: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the odds (T,) that films are calibrated from, of frames calibrated as stills."""
        still, film = self._card.image_calibration, self._card.video_calibration
        return (still.slope * own + still.intercept - film.intercept) / film.slope


def mixed(
    clip_logit: NDArray[np.floating] | float,
    frame_logits: NDArray[np.floating],
    own: NDArray[np.floating],
    pooling: Pooling,
) -> NDArray[np.floating]:
    """Return what is pooled of the frames of a clip (T,), or of many (N, T).

    Args:
        clip_logit: Of the temporal head, a number or (N, 1).
        frame_logits: Of the temporal head.
        own: The frame encoder's.
        pooling: Their weights.
    """
    weight = pooling.clip_weight
    return weight * clip_logit + (1 - weight) * frame_logits + pooling.encoder_weight * own


def clip_runs(tracks: NDArray[np.int32], clips: NDArray[np.int32]) -> list[NDArray[np.intp]]:
    """Return the indices of each (track, clip), cut into runs of at most 32 frames of like length.

    Args:
        tracks: (K,).
        clips: (K,).
    """
    runs = []
    for track, clip in np.unique(np.stack([tracks, clips], 1), axis=0):
        at = np.flatnonzero((tracks == track) & (clips == clip))
        runs += np.array_split(at, -(-len(at) // MAX_CLIP_FRAMES))
    return runs
