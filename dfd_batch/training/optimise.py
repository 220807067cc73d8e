"""How weights follow gradients: loss, schedule, AdamW, sharpness-aware minimisation, averages."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dfd_batch.training.config import TrainConfig


def twin_loss(odds: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    """Return label-smoothed cross-entropy plus the loss of the order inside each pair.

    Args:
        odds: (2n,) log-odds of manipulation, genuine and fake alternating.
        labels: (2n,) 0 and 1.
        config: Smoothing and weight.
    """
    smooth = labels * (1 - 2 * config.label_smoothing) + config.label_smoothing
    loss = F.binary_cross_entropy_with_logits(odds, smooth)
    if config.pair_weight > 0:
        genuine, fake = odds.view(-1, 2).unbind(1)
        loss = loss + config.pair_weight * F.softplus(genuine - fake).mean()
    return loss


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return the optimiser, without weight decay on norms and biases."""
    plain = [p for p in model.parameters() if p.ndim < 2]
    heavy = [p for p in model.parameters() if p.ndim >= 2]
    groups: list[dict[str, Any]] = [
        {"params": heavy, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99))


def learning_rate(config: TrainConfig, images: int, done: float) -> float:
    """Return the rate: linear warm-up, then half a cosine to a fiftieth.

    Args:
        config: Peak and length of the warm-up.
        images: Seen so far.
        done: Share of the schedule that is behind.
    """
    warm = min(1.0, (images + 1) / max(config.warmup_images, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.learning_rate * warm * (0.02 + 0.98 * cosine)


def sharpness_gradient(model: nn.Module, backward: Callable[[], Any], rho: float) -> None:
    """Replace the gradient at hand by that of the worst point within `rho` (SAM).

    Foret et al., Sharpness-Aware Minimization, ICLR 2021: the point is a first-order guess, one
    step of length `rho` along the gradient. Running statistics of norms see the first pass alone.

    Args:
        model: Holds the gradient of the loss at its weights.
        backward: Makes the gradient anew, at the weights of the moment, on the same batch.
        rho: Length of the step in the norm of all weights.
    """
    moved: list[Tensor] = [p for p in model.parameters() if p.grad is not None]
    grads = [p.grad for p in moved if p.grad is not None]
    scale = rho / (torch.nn.utils.get_total_norm(grads) + 1e-12)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    momenta = [m.momentum for m in norms]
    kept = [p.detach().clone() for p in moved]  # subtracting the step again would not be exact
    with torch.no_grad():
        torch._foreach_mul_(grads, scale)
        torch._foreach_add_(moved, grads)
    for norm in norms:
        norm.momentum = 0.0
    model.zero_grad(set_to_none=True)
    try:
        backward()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        with torch.no_grad():
            torch._foreach_copy_(moved, kept)


class Ema:
    """Exponential average whose memory grows with the number of updates."""

    def __init__(self, decay: float) -> None:
        self._decay = decay

    def __call__(self, average: Tensor, current: Tensor, n_averaged: Tensor | int) -> Tensor:
        """Return the average with one more value in it."""
        n = int(n_averaged)
        decay = min(self._decay, (1 + n) / (10 + n))
        if not average.is_floating_point():
            return current
        return torch.lerp(average, current, 1 - decay)


def nearer(network: nn.Module, start: Mapping[str, Tensor], share: float) -> nn.Module:
    """Return a network whose weights lie nearer to those that its training began from.

    Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022 (WiSE-FT).

    Args:
        network: Stays as it is.
        start: Its state before the training.
        share: Of the start in the result, 0..1.
    """
    if not share:
        return network
    between = copy.deepcopy(network)
    state = network.state_dict()
    between.load_state_dict(
        {
            name: torch.lerp(value, start[name].to(value), share)
            if value.is_floating_point()
            else value
            for name, value in state.items()
        }
    )
    return between
