"""What a temporal head brings beside the mean of its frames, measured on held-out clips."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dfd_batch.checkpoint import Metric, Pooling
from dfd_batch.judge.frames import mixed
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.judge.pool import pool_frames
from dfd_batch.training import evaluate
from dfd_batch.training.clip_features import ClipFeatures

EASY_ALARMS = 0.05
FOUND_SHARE = 0.5
"""Of the forgeries, where two ways of judging are compared by what else they flag."""
TEMPORAL = ("drift", "jitter", "flicker", "hold", "lip_lag", "eyes_open")


@torch.inference_mode()
def head_logits(
    head: TemporalHead, data: ClipFeatures
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the head's clip logits (N,) and frame logits (N, T)."""
    clip, frame = [], []
    device = next(head.parameters()).device
    for start in range(0, len(data.labels), 256):
        x = torch.from_numpy(data.features[start : start + 256].astype(np.float32)).to(device)
        of_clips, of_frames = head(x, torch.ones(x.shape[:2], dtype=torch.bool, device=device))
        clip.append(of_clips.cpu().numpy())
        frame.append(of_frames.cpu().numpy())
    return np.concatenate(clip).astype(np.float64), np.concatenate(frame).astype(np.float64)


def clip_logits(head: TemporalHead, data: ClipFeatures) -> NDArray[np.float64]:
    """Return the head's clip logits (N,)."""
    return head_logits(head, data)[0]


def pooled_logits(head: TemporalHead, data: ClipFeatures, pooling: Pooling) -> NDArray[np.float64]:
    """Return (N,) what a scan would pool for a video that consists of each clip alone."""
    clip, frame = head_logits(head, data)
    rows = mixed(clip[:, None], frame, data.frame_logits, pooling)
    return np.array([pool_frames(row, pooling) for row in rows])


def judge_head(
    head: TemporalHead, data: ClipFeatures, command: str, name_of_data: str
) -> tuple[Metric, ...]:
    """Return what the head does better, or not, than the mean of frame logits.

    Clip AUC by operation and over all, and the false alarms on genuine clips that had honest
    troubles, at the threshold that one in twenty of the untroubled ones passes and at the one that
    half of the forgeries pass.

    Args:
        head: Trained.
        data: Clips of groups that neither encoder nor head has seen.
        command: That made the head, for its card.
        name_of_data: What the clips are, for the card.
    """
    odds = {"temporal head": clip_logits(head, data), "mean of frames": data.frame_logits.mean(1)}
    operation, labels = np.array(data.operations), data.clip_labels
    troubled = np.array([bool(trouble) for trouble in data.troubles])
    hard, easy = troubled & (labels == 0), ~troubled & (labels == 0)
    metrics = []
    groups: dict[str, tuple[str, ...]] = {"all": tuple(sorted(set(data.operations)))}
    groups |= {"temporal forgeries": TEMPORAL} | {name: (name,) for name in groups["all"]}
    for name, kinds in groups.items():
        rows = np.flatnonzero(np.isin(operation, kinds))
        if not 0 < labels[rows].sum() < len(rows):
            continue
        for kind, values in odds.items():
            figure = evaluate.auc_figure(labels[rows], values[rows], [data.groups[i] for i in rows])
            metrics.append(
                Metric(
                    name=f"clip AUC, {kind}",
                    data=f"{name_of_data}: {name}",
                    command=command,
                    **figure.as_dict(),
                )
            )
    for kind, values in odds.items():
        thresholds = {}
        if hard.any() and easy.any():
            where = f"{EASY_ALARMS:.0%} of the untroubled ones alarm"
            thresholds[where] = np.quantile(values[easy], 1 - EASY_ALARMS)
        if hard.any() and labels.any():
            where = f"{FOUND_SHARE:.0%} of the forgeries are found"
            thresholds[where] = np.quantile(values[labels == 1], 1 - FOUND_SHARE)
        for where, threshold in thresholds.items():
            metrics.append(
                Metric(
                    name=f"clip false alarms, {kind}",
                    data=f"{name_of_data}: troubled genuine ones, where {where}",
                    value=float((values[hard] > threshold).mean()),
                    n=int(hard.sum()),
                    command=command,
                )
            )
    return tuple(metrics)
