"""Whether a temporal head finds traces that it has never learned: one kind left out at a time.

`python -m dfd_batch.evaluation.left_out CHECKPOINT WORK [KIND …]` trains the head anew without each
kind of forged clips and prints AUCs as JSON: of the mean of frame logits, and of what a scan pools
of a clip, by both heads. Seed and number of clips are those of the checkpoint's
card; WORK keeps the clips, so the training's own is the fastest. Both encoders stay as they are: a
motion encoder has still seen every kind, and the figures tell of the head alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Checkpoint
from dfd_batch.features.cnn import load_part, network
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.outcomes import UsageError
from dfd_batch.training import evaluate
from dfd_batch.training.clip_features import ClipFeatures
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.evaluate import Figure
from dfd_batch.training.motion import encoder_of
from dfd_batch.training.temporal import DEGRADED, UNTOUCHED, clip_sets
from dfd_batch.training.temporal_figures import pooled_logits
from dfd_batch.training.temporal_head import fit_head


@dataclass(frozen=True)
class Unseen:
    """AUCs on one kind of forged clips and their genuine twins."""

    learned: Figure
    """Of the checkpoint's head."""
    left_out: Figure
    """Of a head that learned from all other kinds."""
    mean: Figure
    """Of the mean of frame logits, without any head."""


def measure(
    detector: str, config: TrainConfig, kinds: Collection[str] = ()
) -> dict[str, dict[str, Unseen]]:
    """Return what a head finds of each kind that it has not learned, by set of clips and kind.

    Args:
        detector: Directory or shipped name, with a temporal head.
        config: Seed, number of clips, and the work directory whose pools are forged.
        kinds: These alone; all when empty.

    Raises:
        UsageError: The detector has no temporal head, or the pools hold no clips.
    """
    base = checkpoint.load(detector)
    own = base.card.architecture
    if own.temporal == "none":
        raise UsageError(f"{detector} judges frames alone: name one with a temporal head.")
    config = config.model_copy(
        update={"architecture": own, "preprocessing": base.card.preprocessing}
    )
    encoder = network(base)
    motion = encoder_of(detector, own.motion) if own.motion else None
    train, *measured = clip_sets(encoder, motion, config)
    sets = dict(zip((DEGRADED, UNTOUCHED), measured, strict=True))
    shipped = _shipped(base, encoder.feature_dim)
    found: dict[str, dict[str, Unseen]] = {name: {} for name in sets}
    for kind in sorted(set(train.operations) & set(kinds or train.operations)):
        others = fit_head(train.of(_rows(train, kind, False)), config, encoder.feature_dim)
        for name, clips in sets.items():
            these = clips.of(_rows(clips, kind, True))
            if len(these.labels):
                found[name][kind] = Unseen(
                    learned=_auc(these, pooled_logits(shipped, these, base.card.pooling)),
                    left_out=_auc(these, pooled_logits(others, these, base.card.pooling)),
                    mean=_auc(these, these.frame_logits.mean(1)),
                )
    return found


def _shipped(detector: Checkpoint, feature_dim: int) -> TemporalHead:
    head = TemporalHead(detector.card.architecture, feature_dim)
    load_part(head, detector, "temporal")
    return head.eval()


def _rows(clips: ClipFeatures, kind: str, wanted: bool) -> NDArray[np.int64]:
    return np.flatnonzero((np.array(clips.operations) == kind) == wanted)


def _auc(clips: ClipFeatures, odds: NDArray[np.float64]) -> Figure:
    return evaluate.auc_figure(clips.clip_labels, odds, clips.groups)


def main() -> None:
    """Print the figures of one checkpoint on the pools of one work directory."""
    name, work, *kinds = sys.argv[1:]
    training = checkpoint.load_card(name).training
    config = TrainConfig(
        work=Path(work), out=Path(work), seed=training.seed, clips=training.clips_seen, loaders=1
    )
    with redirect_stdout(sys.stderr):  # how each training goes
        found = measure(name, config, kinds)
    told = {data: {kind: asdict(v) for kind, v in of.items()} for data, of in found.items()}
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
