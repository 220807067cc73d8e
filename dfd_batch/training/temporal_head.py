"""The temporal head's training on cached features: it begins as the mean of the frames."""

from __future__ import annotations

import copy
import hashlib
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.training import evaluate
from dfd_batch.training.clip_features import ClipFeatures
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.devices import device_of
from dfd_batch.training.motion import ORDER_WEIGHT, show_twin, stretch
from dfd_batch.training.optimise import Ema
from dfd_batch.training.pools import HELD_OUT
from dfd_batch.training.temporal_figures import clip_logits

BATCH_CLIPS = 64
FEATURE_NOISE = 0.01
"""Standard deviation; the features' own is about 0.5."""
SMOOTHNESS_WEIGHT = 0.1
"""Of the loss of frames that differ from the next one though they are labelled alike."""
FRAMES_HIDDEN_SHARE = 0.2
"""Batches that show the motion features alone."""
TROUBLED_WEIGHT = 3.0
"""Of a genuine clip that had honest troubles, beside 1 of any other clip."""
WITHIN_MARGIN = 1.0
"""By how many log-odds forged frames shall stand out from genuine ones of the same clip."""
AVERAGING = 0.99
"""Memory of the averaged weights, which are the ones that are kept."""


@torch.no_grad()
def start_as_mean(head: TemporalHead, data: ClipFeatures) -> None:
    """Set a fresh head to answer about the encoder's own frame logits and, for clips, their mean.

    What the frames tell need not be learned again from few clips; training adds what time tells.
    The logits are fitted (ridge) from the normalised features and passed on by two units of the
    projection, one for each sign.
    """
    flat = data.features.reshape(-1, data.features.shape[-1])[:, : head.feature_dim]
    x = head.norm(torch.from_numpy(flat).float())
    y = torch.from_numpy(data.frame_logits.reshape(-1)).float()
    middle, level = x.mean(0), y.mean()
    centred = (x - middle).double()
    gram = centred.T @ centred
    gram.diagonal().add_(0.01 * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, centred.T @ (y - level).double()).float()
    bias = level - middle @ weight
    first = head.frame.in_features - head.project.out_features  # where `inside` begins
    for unit, sign in ((0, 1.0), (1, -1.0)):
        head.project.weight[unit] = F.pad(sign * weight, (0, 1 + head.motion))
        head.project.bias[unit] = sign * bias
    for layer in (head.frame, head.clip):
        layer.weight.mul_(0.1)
        layer.bias.zero_()
        layer.weight[0, first], layer.weight[0, first + 1] = 1.0, -1.0
    for parameter in head.attention[-1].parameters():
        parameter.zero_()


def fit_head(data: ClipFeatures, config: TrainConfig, feature_dim: int) -> TemporalHead:
    """Return the averaged head of the best epoch on a slice of groups kept out of its training.

    Epoch 0 is the mean of frames, so that too few clips leave that rather than something worse. Of
    a single group nothing can be kept out; then it is the head of the last epoch.
    """
    torch.manual_seed(config.seed)
    head = TemporalHead(config.architecture, feature_dim, dropout=0.3)
    start_as_mean(head, data)
    device = device_of(config)
    head.to(device)
    optimiser = torch.optim.AdamW(
        head.parameters(), config.temporal_learning_rate, weight_decay=0.05
    )
    aside = _aside(data.groups[::2])
    pairs, check = np.flatnonzero(~aside), data.of(np.flatnonzero(np.repeat(aside, 2)))
    per_epoch = -(-len(pairs) // (BATCH_CLIPS // 2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.temporal_learning_rate, total_steps=per_epoch * config.temporal_epochs
    )
    rng = np.random.default_rng([config.seed, 13])
    averaged = AveragedModel(head, avg_fn=Ema(AVERAGING))
    mean = cast(TemporalHead, averaged.module)
    best, kept = _check_auc(mean, check), copy.deepcopy(head.state_dict())
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
            averaged.update_parameters(head)
            total += float(loss.detach())
        now = _check_auc(mean, check)
        print(f"temporal epoch {epoch + 1}: loss {total / per_epoch:.4f} AUC {now:.4f}", flush=True)
        if now > best or not aside.any():
            best, kept = now, copy.deepcopy(mean.state_dict())
    head.load_state_dict(kept)
    return head.cpu().eval()


def _aside(groups: list[str]) -> NDArray[np.bool_]:
    """Return which pairs (N,) are of the groups that the best epoch is chosen on, never all."""
    ranked = sorted(
        set(groups), key=lambda group: hashlib.sha256(f"choose {group}".encode()).digest()
    )
    chosen = set(ranked[: -(-(len(ranked) - 1) // HELD_OUT)])
    return np.array([group in chosen for group in groups], bool)


def _check_auc(head: TemporalHead, data: ClipFeatures) -> float:
    """Return the clip AUC, 0 when there is nothing to measure it on."""
    if not len(data.labels):
        return 0.0
    head.eval()
    return evaluate.auc(data.clip_labels, clip_logits(head, data))


def _clip_loss(
    head: TemporalHead, data: ClipFeatures, rows: NDArray[np.int64], rng: np.random.Generator
) -> Tensor:
    """Return BCE(clip) + BCE(frame) + orders of twins and of frames + smoothness, of cut clips."""
    n = data.labels.shape[1]
    length = n if rng.random() < 0.6 else int(rng.integers(max(2, n // 2), n + 1))
    device = next(head.parameters()).device
    labels, own = data.labels[rows, :length], data.features[rows, :length].astype(np.float32)
    genuine = stretch(labels, rng)
    show_twin(own, genuine)
    x = torch.from_numpy(own)
    # Repeated frames have equal features, and the norm of a zero step has no gradient.
    x += FEATURE_NOISE * torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    if head.motion and rng.random() < FRAMES_HIDDEN_SHARE:
        x[..., : head.feature_dim] = 0  # few speakers: their faces are soon known by heart
    x = x.to(device)
    frames = torch.from_numpy(np.where(genuine, np.float32(0), labels)).to(device)
    mask = torch.ones(frames.shape, dtype=torch.bool, device=device)
    clip_logit, frame_logit = head(x, mask)
    forged = frames.max(1).values
    troubled = torch.tensor([bool(data.troubles[row]) for row in rows], device=device)
    weight = torch.where(troubled & (forged == 0), TROUBLED_WEIGHT, 1.0)
    clip_loss = F.binary_cross_entropy_with_logits(
        clip_logit, forged * 0.94 + 0.03, weight=weight / weight.mean()
    )
    order = (F.softplus(clip_logit[::2] - clip_logit[1::2]) * forged[1::2]).mean()
    likely, alike = frame_logit.sigmoid(), frames[:, 1:] == frames[:, :-1]
    rough = ((likely[:, 1:] - likely[:, :-1]).square() * alike).mean()
    of_frames = F.binary_cross_entropy_with_logits(frame_logit, frames)
    total: Tensor = clip_loss + ORDER_WEIGHT * order + SMOOTHNESS_WEIGHT * rough + of_frames
    return total + _order_within(frame_logit, frames)


def _order_within(odds: Tensor, frames: Tensor) -> Tensor:
    """Return the loss of forged frames that do not stand out from the genuine ones around them.

    Cross-entropy alone is content with the same answer for all frames of a clip.

    Args:
        odds: (B, T) frame logits.
        frames: (B, T) 1 where forged.
    """
    in_part = (frames.amax(1) > 0) & (frames.amin(1) < 1)
    if not in_part.any():
        return odds.new_zeros(())
    own, forged = odds[in_part], frames[in_part]
    apart = own[:, None, :] - own[:, :, None]  # [b, genuine frame, forged frame] below
    pairs = (1 - forged)[:, :, None] * forged[:, None, :]
    lost = F.softplus(WITHIN_MARGIN - apart) * pairs
    return (lost.sum((1, 2)) / pairs.sum((1, 2))).mean()
