"""Stage B: the temporal head on a frozen encoder's features, then calibration and thresholds.

Works on any encoder checkpoint, a finished or an intermediate one, and takes minutes.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Metric, ModelCard, Pooling, Thresholds
from dfd_batch.features.cnn import FrameEncoder, load_part
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.judge.pool import pool_frames
from dfd_batch.training import clips, evaluate, looks
from dfd_batch.training.clips import ClipFeatures
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import evaluation_crops, work_pool
from dfd_batch.training.pools import is_held_out

MOST_HELD_OUT_PAIRS = 300
BATCH_CLIPS = 64
FEATURE_NOISE = 0.01
"""Standard deviation; the features' own is about 0.5."""
POOLING = Pooling(strategy="mean")
"""Calibrated here on single clips, and only a mean stays comparable when a video has more."""
COMMAND = "dfd train --data DATA --work WORK --out OUT"


def add_temporal(config: TrainConfig, encoder_checkpoint: Path, out: Path) -> ModelCard:
    """Write the encoder's checkpoint with a trained temporal head and return its card.

    Args:
        config: As for stage A; the clip pools must be prepared.
        encoder_checkpoint: A checkpoint with an encoder; a former temporal head is replaced.
        out: Directory of the new checkpoint.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    base = checkpoint.load(str(encoder_checkpoint))
    architecture = config.architecture
    encoder = FrameEncoder(architecture)
    load_part(encoder, base, "encoder")
    encoder.eval().to(memory_format=torch.channels_last)
    mark = base.card.weights_sha256[:12]
    train, held_out = (
        clips.features(encoder, config, n, out_of, config.work / f"clips-{mark}-{name}-{n}.npz")
        for n, out_of, name in (
            (config.clips // 2, False, "train"),
            (min(MOST_HELD_OUT_PAIRS, config.clips // 4), True, "held_out"),
        )
    )
    started = time.monotonic()
    head = fit_head(train, config, encoder.feature_dim)
    metrics = judge_head(head, held_out)
    for metric in metrics:
        print(f"{metric.name} [{metric.data}]: {metric.value:.4f}", flush=True)
    card = _card(base.card, config, encoder, head, held_out, metrics)
    hours = base.card.training.hours + (time.monotonic() - started) / 3600
    training = card.training.model_copy(update={"clips_seen": config.clips, "hours": hours})
    weights = dict(base.weights)
    weights = {k: v for k, v in weights.items() if k.startswith("encoder.")}
    weights |= {f"temporal.{k}": v.detach().cpu().numpy() for k, v in head.state_dict().items()}
    return checkpoint.save(out, card.model_copy(update={"training": training}), weights).card


@torch.no_grad()
def start_as_mean(head: TemporalHead, data: ClipFeatures) -> None:
    """Set a fresh head to answer about the encoder's own frame logits and, for clips, their mean.

    What the frames tell need not be learned again from few clips; training adds what time tells.
    The logits are fitted (ridge) from the normalised features and passed on by two units of the
    projection, one for each sign.
    """
    x = head.norm(torch.from_numpy(data.features.reshape(-1, data.features.shape[-1])).float())
    y = torch.from_numpy(data.frame_logits.reshape(-1)).float()
    middle, level = x.mean(0), y.mean()
    centred = (x - middle).double()
    gram = centred.T @ centred
    gram.diagonal().add_(0.01 * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, centred.T @ (y - level).double()).float()
    bias = level - middle @ weight
    first = head.frame.in_features - head.project.out_features  # where `inside` begins
    for unit, sign in ((0, 1.0), (1, -1.0)):
        head.project.weight[unit] = torch.cat([sign * weight, torch.zeros(1)])
        head.project.bias[unit] = sign * bias
    for layer in (head.frame, head.clip):
        layer.weight.mul_(0.1)
        layer.bias.zero_()
        layer.weight[0, first], layer.weight[0, first + 1] = 1.0, -1.0
    for parameter in head.attention[-1].parameters():
        parameter.zero_()


def fit_head(data: ClipFeatures, config: TrainConfig, feature_dim: int) -> TemporalHead:
    """Return the temporal head of the best epoch on a slice of groups kept out of its training.

    Epoch 0 is the mean of frames, so that too few clips leave that rather than something worse.
    """
    head = TemporalHead(config.architecture, feature_dim, dropout=0.3)
    start_as_mean(head, data)
    optimiser = torch.optim.AdamW(
        head.parameters(), config.temporal_learning_rate, weight_decay=0.05
    )
    aside = np.array([is_held_out(f"choose {group}") for group in data.groups[::2]], bool)
    pairs, check = np.flatnonzero(~aside), _select(data, np.flatnonzero(np.repeat(aside, 2)))
    per_epoch = -(-len(pairs) // (BATCH_CLIPS // 2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.temporal_learning_rate, total_steps=per_epoch * config.temporal_epochs
    )
    rng = np.random.default_rng([config.seed, 13])
    best, kept = _check_auc(head, check), copy.deepcopy(head.state_dict())
    for epoch in range(config.temporal_epochs):
        head.train()
        total = 0.0
        for part in np.array_split(rng.permutation(pairs), per_epoch):
            rows = np.stack([2 * part, 2 * part + 1], 1).reshape(-1)
            loss = _clip_loss(head, data, rows, rng)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        now = _check_auc(head, check)
        print(f"temporal epoch {epoch + 1}: loss {total / per_epoch:.4f} AUC {now:.4f}", flush=True)
        if now > best:
            best, kept = now, copy.deepcopy(head.state_dict())
    head.load_state_dict(kept)
    return head.eval()


def _select(data: ClipFeatures, rows: NDArray[np.int64]) -> ClipFeatures:
    """Return some of the clips."""
    return ClipFeatures(
        data.features[rows],
        data.frame_logits[rows],
        data.labels[rows],
        [data.operations[i] for i in rows],
        [data.groups[i] for i in rows],
    )


def _check_auc(head: TemporalHead, data: ClipFeatures) -> float:
    """Return the clip AUC, 0 when there is nothing to measure it on."""
    if not len(data.labels):
        return 0.0
    head.eval()
    return evaluate.auc(data.clip_labels, clip_logits(head, data))


def _clip_loss(
    head: TemporalHead, data: ClipFeatures, rows: NDArray[np.int64], rng: np.random.Generator
) -> Tensor:
    """Return BCE(clip) + BCE(frame) / 2 of some clips, shortened now and then."""
    n = data.labels.shape[1]
    length = n if rng.random() < 0.6 else int(rng.integers(max(2, n // 2), n + 1))
    x = torch.from_numpy(data.features[rows, :length].astype(np.float32))
    # Repeated frames have equal features, and the norm of a zero step has no gradient.
    x += FEATURE_NOISE * torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    frames = torch.from_numpy(data.labels[rows, :length])
    mask = torch.ones(frames.shape, dtype=torch.bool)
    clip_logit, frame_logit = head(x, mask)
    target = frames.max(1).values * 0.94 + 0.03
    clip_loss = F.binary_cross_entropy_with_logits(clip_logit, target)
    return clip_loss + 0.5 * F.binary_cross_entropy_with_logits(frame_logit, frames)


@torch.inference_mode()
def head_logits(
    head: TemporalHead, data: ClipFeatures
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the head's clip logits (N,) and frame logits (N, T)."""
    clip, frame = [], []
    for start in range(0, len(data.labels), 256):
        x = torch.from_numpy(data.features[start : start + 256].astype(np.float32))
        of_clips, of_frames = head(x, torch.ones(x.shape[:2], dtype=torch.bool))
        clip.append(of_clips.numpy())
        frame.append(of_frames.numpy())
    return np.concatenate(clip).astype(np.float64), np.concatenate(frame).astype(np.float64)


def clip_logits(head: TemporalHead, data: ClipFeatures) -> NDArray[np.float64]:
    """Return the head's clip logits (N,)."""
    return head_logits(head, data)[0]


def pooled_logits(head: TemporalHead, data: ClipFeatures, pooling: Pooling) -> NDArray[np.float64]:
    """Return (N,) what a scan would pool for a video that consists of each clip alone."""
    clip, frame = head_logits(head, data)
    mixed = pooling.clip_weight * clip[:, None] + (1 - pooling.clip_weight) * frame
    return np.array([pool_frames(row, pooling) for row in mixed])


def judge_head(head: TemporalHead, data: ClipFeatures) -> tuple[Metric, ...]:
    """Return clip AUC of the head and of the mean of frame logits, by operation and over all."""
    odds = {"temporal head": clip_logits(head, data), "mean of frames": data.frame_logits.mean(1)}
    operation = np.array(data.operations)
    pairs = [f"{group}/{i // 2}" for i, group in enumerate(data.groups)]
    metrics = []
    for name in ("all", *sorted(set(data.operations))):
        rows = np.flatnonzero((operation == name) | (name == "all"))
        for kind, values in odds.items():
            figure = evaluate.auc_figure(
                data.clip_labels[rows], values[rows], [pairs[i] for i in rows]
            )
            metrics.append(
                Metric(
                    name=f"clip AUC, {kind}",
                    data=f"clips of held-out speakers, filmed DFDC dev stills: {name}",
                    command=COMMAND,
                    **figure.as_dict(),
                )
            )
    return tuple(metrics)


def _card(
    card: ModelCard,
    config: TrainConfig,
    encoder: FrameEncoder,
    head: TemporalHead,
    held_out: ClipFeatures,
    metrics: tuple[Metric, ...],
) -> ModelCard:
    """Return the card with calibrations and thresholds measured on media not trained on."""
    pool = work_pool(config.work, "dfdc_dev")
    crops = evaluation_crops(pool, config.preprocessing.crop_size, np.arange(len(pool)))
    faces = looks.logits(encoder, crops, config)
    image = evaluate.platt(pool.labels, faces)
    odds = pooled_logits(head, held_out, POOLING)
    video = evaluate.platt(held_out.clip_labels, odds)
    genuine = np.concatenate(
        [
            evaluate.probability(faces[pool.labels == 0], image),
            evaluate.probability(odds[held_out.clip_labels == 0], video),
        ]
    )
    kept = tuple(m for m in card.metrics if not m.name.startswith("clip AUC"))
    return card.model_copy(
        update={
            "architecture": config.architecture,
            "description": "MobileNetV2-class frame encoder with an LSTM over time, provisional.",
            "image_calibration": image,
            "video_calibration": video,
            "pooling": POOLING,
            "thresholds": thresholds(genuine, config.target_fpr),
            "metrics": kept + metrics,
        }
    )


def thresholds(genuine: NDArray[np.float64], target_fpr: float) -> Thresholds:
    """Return bands from the probabilities of genuine media: `suspicious` holds the target FPR.

    The conformal quantile: of n exchangeable genuine media at most the target share lies above it.
    `inconclusive` begins at four times, `manipulated` at a third of that share.
    """
    ranked = np.sort(genuine)
    n = len(ranked)

    def above(share: float) -> float:
        rank = int(np.ceil((n + 1) * (1 - min(share, 0.5))))
        return float(ranked[rank - 1]) if rank <= n else float((1 + ranked[-1]) / 2)

    return Thresholds(
        inconclusive=above(4 * target_fpr),
        suspicious=above(target_fpr),
        manipulated=above(target_fpr / 3),
    )
