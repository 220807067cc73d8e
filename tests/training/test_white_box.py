"""Attacks against networks whose worst case is known, and against one that learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd_batch.checkpoint import Architecture, Preprocessing
from dfd_batch.training import white_box
from dfd_batch.training.adversarial import adversarial_batch
from dfd_batch.training.evaluate import auc
from dfd_batch.training.pools import Image

SIDE = 16
PREPROCESSING = Preprocessing(crop_size=32)


def noise(n: int, low: int = 60, high: int = 196, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(low, high, (n, SIDE, SIDE, 3), np.uint8)


def linear(seed: int = 1) -> tuple[Tensor, white_box.Victim]:
    """A linear victim: its nearest point of the other class is known."""
    weight = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, SIDE, SIDE))).float()
    return weight, lambda pixels: ((pixels - 0.5) * weight).sum((1, 2, 3))


def test_fgsm_of_a_linear_victim_loses_eps_times_its_weights() -> None:
    weight, victim = linear()
    crops, labels = noise(6), np.array([0, 1] * 3, np.int32)
    attacked = white_box.fgsm(victim, crops, labels, 4)
    assert attacked.dtype == np.uint8
    lost = white_box.odds_of(victim, attacked) - white_box.odds_of(victim, crops)
    most = 4 / 255 * float(weight.abs().sum())
    np.testing.assert_allclose(lost, np.where(labels == 1, -most, most), rtol=1e-4)


def test_fgsm_stays_in_its_bound_and_in_range() -> None:
    crops = noise(4, 0, 256)
    attacked = white_box.fgsm(linear()[1], crops, np.array([0, 1, 0, 1], np.int32), 8)
    change = attacked.astype(int) - crops
    assert abs(change).max() == 8
    assert (abs(change)[(crops >= 8) & (crops <= 247)] == 8).all()


@pytest.mark.parametrize("quantise", [False, True])
def test_carlini_wagner_finds_the_nearest_point_of_a_linear_victim(quantise: bool) -> None:
    weight, victim = linear()
    crops = noise(8)
    odds = white_box.odds_of(victim, crops)
    labels = (odds > 0).astype(np.int32)
    found = white_box.carlini_wagner_l2(
        victim, crops, labels, steps=100, searches=6, rate=0.005, quantise=quantise
    )
    turned = victim(torch.from_numpy(found)).numpy()
    assert ((turned > 0) != (odds > 0)).all()
    clean = white_box.pixels_of(crops).numpy()
    distance = np.sqrt(np.square(found - clean).sum((1, 2, 3)))
    nearest = np.abs(odds) / float(weight.norm())
    assert (distance > nearest * 0.999).all()
    # 0.02: Adam's first step; 0.04 more: whole steps of uint8
    assert (distance < nearest * 1.05 + (0.06 if quantise else 0.02)).all()
    if quantise:
        np.testing.assert_allclose(found * 255, np.round(found * 255), atol=1e-3)


def test_carlini_wagner_leaves_what_is_judged_wrongly_already() -> None:
    _, victim = linear()
    crops = noise(4)
    labels = (white_box.odds_of(victim, crops) < 0).astype(np.int32)
    found = white_box.carlini_wagner_l2(victim, crops, labels, steps=3, searches=1)
    np.testing.assert_allclose(found, white_box.pixels_of(crops).numpy(), atol=1e-5)


class TwoClasses(nn.Module):
    """A victim as the classifier that attack libraries want: logits (N, 2)."""

    def __init__(self, victim: white_box.Victim) -> None:
        super().__init__()
        self.victim = victim
        self.placed = nn.Parameter(torch.zeros(1))  # they ask a network where it lies

    def forward(self, pixels: Tensor) -> Tensor:
        odds = self.victim(pixels)
        return torch.stack([-odds / 2, odds / 2], 1)


def test_attacks_are_those_of_torchattacks() -> None:
    torchattacks = pytest.importorskip("torchattacks", reason="installed by .ci/run alone")
    encoder = trained(0.0).eval()

    def victim(pixels: Tensor) -> Tensor:
        return encoder((pixels - 0.5) / 0.5)[1][:, 0]

    model = TwoClasses(victim).eval()
    crops, labels = task(24, 10_000)
    pixels, classes = white_box.pixels_of(crops), torch.from_numpy(labels).long()

    theirs = torchattacks.FGSM(model, eps=4 / 255)(pixels, classes)
    ours = white_box.pixels_of(white_box.fgsm(victim, crops, labels, 4))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

    theirs = torchattacks.CW(model, c=100, steps=200, lr=0.01)(pixels, classes)
    found = white_box.carlini_wagner_l2(
        victim, crops, labels, steps=200, searches=1, first_c=100, quantise=False
    )
    right = (victim(pixels) > 0) == (classes == 1)
    assert right.sum() > 15
    turned, distances = [], []
    for attacked in (torch.from_numpy(found), theirs):
        turned.append((victim(attacked) > 0) != (classes == 1))
        distances.append((attacked - pixels).square().sum((1, 2, 3)).sqrt())
    assert turned[0].all() and turned[1].all()
    torch.testing.assert_close(distances[0][right], distances[1][right], atol=0, rtol=0.05)


class Small(nn.Module):
    """Two convolutions and a head: (features, logits (N, 1))."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, 2, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x).mean((2, 3))
        return features, self.head(features)


def task(n: int, seed: int) -> tuple[Image, NDArray[np.int32]]:
    """Fakes are a little brighter, and carry a checkerboard of ±3 that never fails."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % 2
    sign = (2.0 * labels - 1)[:, None, None, None]
    board = (np.indices((SIDE, SIDE)).sum(0) % 2 * 2.0 - 1)[None, :, :, None]
    level = 128 + 20 * sign + rng.normal(0, 12, (n, 1, 1, 1))
    crops = level + 3 * sign * board + rng.normal(0, 2, (n, SIDE, SIDE, 3))
    return np.clip(crops, 0, 255).astype(np.uint8), labels


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits[:, 0], labels)


def trained(share: float) -> Small:
    torch.manual_seed(0)
    encoder = Small()
    adam = torch.optim.Adam(encoder.parameters(), 0.01)
    for step in range(80):
        crops, labels = task(32, step)
        x = (white_box.pixels_of(crops) - 0.5) / 0.5
        y = torch.from_numpy(labels).float()
        x = adversarial_batch(encoder, x, y, 6, loss, PREPROCESSING, share)
        adam.zero_grad()
        torch.autograd.backward(loss(encoder(x)[1], y))
        adam.step()
    return encoder


def test_training_on_attacked_pairs_lowers_the_drop() -> None:
    crops, labels = task(100, 10_000)

    def aucs(share: float) -> dict[str, float]:
        encoder = trained(share)
        judge = white_box.victim(encoder, Architecture(), PREPROCESSING)
        found = list(white_box.attacks(encoder, Architecture(), PREPROCESSING, crops, labels, (6,)))
        assert [(a.name, a.eps) for a in found[:2]] == [("clean", 0), ("FGSM", 6)]
        np.testing.assert_array_equal(found[0].crops, crops)
        assert (found[2].crops != crops).any()
        return {a.name: auc(labels, white_box.odds_of(judge, a.crops)) for a in found}

    plain, hardened = aucs(0.0), aucs(1.0)
    assert plain["clean"] > 0.95 and hardened["clean"] > 0.9
    assert plain["FGSM"] < 0.5
    assert hardened["FGSM"] > plain["FGSM"] + 0.3


def test_an_attacked_batch_keeps_its_bound_its_rest_and_the_encoder() -> None:
    encoder = Small().train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    crops, labels = task(8, 1)
    x = (white_box.pixels_of(crops) - 0.5) / 0.5
    y = torch.from_numpy(labels).float()
    attacked = adversarial_batch(encoder, x, y, 2, loss, PREPROCESSING, 0.5)
    change = (attacked - x).abs() * 0.5 * 255
    assert 1 < change[:4].max() <= 2 + 1e-3 and not change[4:].any()
    assert not attacked.requires_grad and encoder.training
    assert all(p.grad is None for p in encoder.parameters())
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert adversarial_batch(encoder, x, y, 2, loss, PREPROCESSING, 0.1) is x


def test_views_are_attacked_through_their_mean() -> None:
    _, victim = linear()
    crops, labels = noise(4), np.array([0, 1, 0, 1], np.int32)
    seeds = np.arange(4, dtype=np.uint64)
    mean = white_box.over_views(victim, seeds, range(1, 9))
    bare = white_box.fgsm(victim, crops, labels, 4)
    adaptive = white_box.fgsm(mean, crops, labels, 4)
    side = np.where(labels == 1, 1, -1)
    assert (side * white_box.odds_of(mean, adaptive) < side * white_box.odds_of(mean, bare)).all()


def test_an_attack_of_many_steps_keeps_its_bound_and_beats_one_of_a_single_step() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.GELU(), nn.Conv2d(16, 16, 3), nn.GELU(), nn.Flatten()
    )
    last = torch.randn(16 * 12 * 12) / 4

    def bent(pixels: Tensor) -> Tensor:
        return torch.sin(8 * net(pixels - 0.5)) @ last

    crops = noise(12, 0, 256)
    labels = np.array([0, 1] * 6, np.int32)
    views = white_box.judge_of_views(bent, 8)
    once = white_box.attack_on_views(bent, crops, labels, 4, 8)
    often = white_box.iterated_attack_on_views(bent, crops, labels, 4)
    assert often.crops.dtype == np.uint8
    assert np.abs(often.crops.astype(int) - crops).max() <= 4
    side = np.where(labels == 1, 1, -1)
    lost = [(side * (views(crops) - views(a.crops))).mean() for a in (once, often)]
    assert lost[1] > lost[0] > 0
