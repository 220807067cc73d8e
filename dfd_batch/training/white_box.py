"""White-box attacks on the frame encoder.

Attacks see the crop that the encoder sees and return one in uint8, as an attacker who writes a
file must. FGSM: Goodfellow et al., ICLR 2015. C&W: Carlini and Wagner, IEEE S&P 2017, L2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd_batch.checkpoint import Architecture, Preprocessing
from dfd_batch.features.cnn import manipulated_logit
from dfd_batch.features.views import Seeds, object_seeds, view
from dfd_batch.training import degrade
from dfd_batch.training.adversarial import evaluating
from dfd_batch.training.depthwise import speed_up
from dfd_batch.training.pools import Image
from dfd_batch.training.precision import autocast

Victim = Callable[[Tensor], Tensor]
"""From pixels (N, 3, S, S) in 0..1 to log-odds of manipulation (N,), differentiable."""
Judge = Callable[[Image], NDArray[np.floating]]
"""From crops (N, S, S, 3) to log-odds of manipulation (N,)."""
EPSILONS = (1.0, 2.0, 4.0, 8.0)
JPEG_QUALITY, H264_CRF = 75, 23
BATCH = 25
ATTACK_STEPS, VIEWS_A_STEP, STEP_SHARE = 6, 3, 0.25
"""Of the iterated attack on views: steps, views that each averages over, length in the bound."""


class Attacked(NamedTuple):
    """Crops after an attack."""

    name: str
    eps: float
    """Largest change of a pixel of 255; of C&W, which has no bound, the largest that it made."""
    crops: Image


def victim(encoder: nn.Module, architecture: Architecture, preprocessing: Preprocessing) -> Victim:
    """Return the encoder behind its preprocessing as a scan runs it: evaluation mode, float32."""
    device = next(encoder.parameters()).device
    speed_up(encoder)
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )

    def odds(pixels: Tensor) -> Tensor:
        x = ((pixels.to(device) - mean) / std).contiguous(memory_format=torch.channels_last)
        with evaluating(encoder), autocast(device.type, "fp32"):
            logits = encoder(x)[1].float()
        return manipulated_logit(logits, architecture).to(pixels.device)

    return odds


def over_views(bare: Victim, seeds: Seeds, indices: Sequence[int]) -> Victim:
    """Return the mean over random views: the defended detector, or an attacker's guess at it.

    An attack through other views than the detector's own is the expectation over transformations
    of Athalye et al., ICML 2018.
    """
    level = torch.full((3,), 1 / 255)
    return lambda pixels: torch.stack([bare(view(pixels, seeds, i, level)) for i in indices]).mean(
        0
    )


def fgsm(victim: Victim, crops: Image, labels: NDArray[np.int32], eps: float) -> Image:
    """Return crops after one step of `eps` (of 255) up the loss, each pixel.

    Args:
        victim: Attacked.
        crops: (N, S, S, 3).
        labels: (N,) 1 = manipulated.
        eps: A whole number, so that nothing is lost in uint8.
    """
    return _step(crops, gradient_sign(victim, crops, labels), eps)


def gradient_sign(victim: Victim, crops: Image, labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the sign (N, S, S, 3) of the loss's gradient: one for all sizes of the step."""
    gradient = _gradient(victim, pixels_of(crops), labels)
    return np.asarray(gradient.sign().permute(0, 2, 3, 1).numpy(), np.float32)


def _gradient(victim: Victim, pixels: Tensor, labels: NDArray[np.int32]) -> Tensor:
    """Return where odds turn wrong: as the loss's gradient points, but for what it vanishes at."""
    x = pixels.detach().requires_grad_()
    away = torch.from_numpy(1 - 2 * np.asarray(labels, np.float32))
    (gradient,) = torch.autograd.grad((away * victim(x)).sum(), x)
    return gradient


def carlini_wagner_l2(
    victim: Victim,
    crops: Image,
    labels: NDArray[np.int32],
    *,
    steps: int = 15,
    searches: int = 2,
    rate: float = 0.01,
    first_c: float = 1.0,
    confidence: float = 0.0,
    quantise: bool = True,
) -> NDArray[np.float32]:
    """Return the nearest pixels found, (N, 3, S, S) in 0..1, that the victim takes for the other.

    Minimises |x' - x|² + c · max(margin + confidence, 0) by Adam on arctanh(2 x' - 1), c searched
    per crop. Crops that no attempt turned stay as they were.

    Args:
        victim: Attacked; it decides by the sign of its log-odds.
        crops: (N, S, S, 3).
        labels: (N,) 1 = manipulated.
        steps: Of Adam for each c.
        searches: Values of c that are tried.
        rate: Of Adam.
        first_c: First c; then ten times as much, or half-way.
        confidence: Margin on the other side, in log-odds.
        quantise: Attack through the rounding to uint8 (its gradient passed on), which would undo
            most of so small a change; the result then is in uint8's values.
    """
    x = pixels_of(crops)
    side = torch.from_numpy(np.where(np.asarray(labels) == 1, 1.0, -1.0).astype(np.float32))
    start = torch.atanh((2 * x - 1) * 0.999999)
    low, high = torch.zeros(len(x)), torch.full((len(x),), torch.inf)
    c = torch.full((len(x),), first_c)
    best, nearest = x.clone(), torch.full((len(x),), torch.inf)
    for _ in range(searches):
        w = start.clone().requires_grad_()
        adam = torch.optim.Adam([w], rate)
        turned = torch.zeros(len(x), dtype=torch.bool)
        for _ in range(steps):
            attacked = (torch.tanh(w) + 1) / 2
            if quantise:
                attacked = attacked + (_rounded(attacked) - attacked).detach()
            distance = (attacked - x).square().sum((1, 2, 3))
            margin = side * victim(attacked) + confidence
            better = (margin.detach() < 0) & (distance.detach() < nearest)
            best[better], nearest[better] = attacked.detach()[better], distance.detach()[better]
            turned |= margin.detach() < 0
            (w.grad,) = torch.autograd.grad((distance + c * margin.clamp(min=0)).sum(), w)
            adam.step()
        high, low = torch.where(turned, c, high), torch.where(turned, low, c)
        c = torch.where(high.isinf(), 10 * c, (low + high) / 2)
    return np.asarray(best.numpy(), np.float32)


def attacks(
    encoder: nn.Module,
    architecture: Architecture,
    preprocessing: Preprocessing,
    crops: Image,
    labels: NDArray[np.int32],
    epsilons: Sequence[float] = EPSILONS,
) -> Iterator[Attacked]:
    """Yield the crops as they are, then under FGSM of each size, then under C&W.

    Args:
        encoder: Attacked.
        architecture: For its head.
        preprocessing: For its scaling.
        crops: (N, S, S, 3), both classes.
        labels: (N,) 1 = manipulated.
        epsilons: Of FGSM, of 255.
    """
    target = victim(encoder, architecture, preprocessing)
    parts = _parts(len(crops))
    yield Attacked("clean", 0.0, crops)
    signs = np.concatenate([gradient_sign(target, crops[p], labels[p]) for p in parts])
    for eps in epsilons:
        yield Attacked("FGSM", eps, _step(crops, signs, eps))
    turned = np.concatenate([carlini_wagner_l2(target, crops[p], labels[p]) for p in parts])
    attacked = np.round(turned.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    most = float(np.abs(attacked.astype(np.int16) - crops).max())
    yield Attacked("C&W L2", most, attacked)


def attack_on_views(
    victim: Victim, crops: Image, labels: NDArray[np.int32], eps: float, n_views: int
) -> Attacked:
    """Return crops under FGSM of the mean over views other than the detector's own.

    Args:
        victim: The bare detector.
        crops: (N, S, S, 3).
        labels: (N,) 1 = manipulated.
        eps: Of 255.
        n_views: That the attacker averages over.
    """
    guessed = np.arange(len(crops), dtype=np.uint64)
    signs = [
        gradient_sign(over_views(victim, guessed[p], range(n_views)), crops[p], labels[p])
        for p in _parts(len(crops))
    ]
    return Attacked("FGSM of other views", eps, _step(crops, np.concatenate(signs), eps))


def iterated_attack_on_views(
    victim: Victim, crops: Image, labels: NDArray[np.int32], eps: float
) -> Attacked:
    """Return crops under small steps with momentum, each through other views than those before.

    MI-FGSM (Dong et al., CVPR 2018) of the expectation over views: what a patient attacker does who
    knows the defence, though not its draws.

    Args:
        victim: The bare detector.
        crops: (N, S, S, 3).
        labels: (N,) 1 = manipulated.
        eps: Of 255, a whole number.
    """
    bound, found = eps / 255, []
    for part in _parts(len(crops)):
        clean = pixels_of(crops[part])
        guessed = np.arange(len(clean), dtype=np.uint64)
        x, velocity = clean, torch.zeros_like(clean)
        for step in range(ATTACK_STEPS):
            views = range(step * VIEWS_A_STEP, (step + 1) * VIEWS_A_STEP)
            slope = _gradient(over_views(victim, guessed, views), x, labels[part])
            size = slope.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
            velocity = velocity + slope / size
            x = x + STEP_SHARE * bound * velocity.sign()
            x = torch.minimum(torch.maximum(x, clean - bound), clean + bound).clamp(0, 1)
        found.append((x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return Attacked(f"{ATTACK_STEPS} steps through other views", eps, np.concatenate(found))


def judge_of_views(victim: Victim, n_views: int) -> Judge:
    """Return the defended detector: the mean over each crop's own random views."""

    def odds(crops: Image) -> NDArray[np.floating]:
        seeds = object_seeds(crops, [1] * len(crops), n_views)
        found = [
            odds_of(over_views(victim, seeds[p], range(n_views)), crops[p])
            for p in _parts(len(crops))
        ]
        return np.concatenate(found)

    return odds


def as_shared(crops: Image) -> tuple[Image, Image, Image]:
    """Return crops (N, S, S, 3) as they are, and after JPEG and H.264, one picture each."""
    return (
        crops,
        np.stack([degrade.jpeg(crop, JPEG_QUALITY) for crop in crops]),
        np.stack([degrade.h264([crop], H264_CRF)[0] for crop in crops]),
    )


@torch.no_grad()
def odds_of(victim: Victim, crops: Image) -> NDArray[np.float64]:
    """Return log-odds (N,) of crops (N, S, S, 3)."""
    return np.concatenate(
        [victim(pixels_of(crops[part])).cpu().numpy() for part in _parts(len(crops))]
    )


def pixels_of(crops: Image) -> Tensor:
    """Return pixels (N, 3, S, S) in 0..1 of crops (N, S, S, 3)."""
    return torch.tensor(crops).permute(0, 3, 1, 2).float() / 255


def _parts(n: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, n, BATCH)]


def _step(crops: Image, signs: NDArray[np.float32], eps: float) -> Image:
    return np.clip(np.round(crops + eps * signs), 0, 255).astype(np.uint8)


def _rounded(pixels: Tensor) -> Tensor:
    return (pixels * 255).round() / 255
