"""The second look at stills: a linear head on general features, fitted to generated faces.

See `features.synthesis`. The backbone stays as it was before any training on faces, so that the
head has nothing to learn but a direction, and a heavy ridge keeps that to what most generated faces
share. It takes minutes.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Checkpoint, DataSource, Metric, ModelCard
from dfd_batch.features.cnn import FrameEncoder, normalise
from dfd_batch.features.synthesis import PART
from dfd_batch.judge.thresholds import highest, thresholds
from dfd_batch.outcomes import UsageError
from dfd_batch.training import cards, evaluate, image_scores
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import PairBatches
from dfd_batch.training.devices import device_of, n_loaders, start_loader
from dfd_batch.training.pools import is_held_out
from dfd_batch.training.progress import told

RIDGE = 1.0
"""Weight of the squared norm beside the mean loss, of features of unit variance."""
PRIOR = 0.07
"""Share of stills that are generated as a whole, to which the odds are corrected: the training
shows as many of them as of genuine ones. Rarer ones are missed more often, at .12 twice as many
genuine portraits are flagged."""
BESIDE = {"portraits": 0.45, "clips": 0.15, "dfdc": 0.4}
"""Where the genuine faces beside generated ones come from: of films as well, or whatever is not a
studio portrait would count as genuine."""
DEAD = 0.01
"""Spread, of the features' mean one, that is added to all: what never changes shall not count."""
ASIDE = 8
"""One pair in so many is of groups that the head is not fitted to, for its calibration."""


class GeneratedPairs(PairBatches):
    """Batches of generated faces beside genuine ones, both degraded alike.

    Args:
        config: Pools and seed.
        n_pairs: At least so many.
        aside: Of the groups that are kept for calibration, or of all others.

    Raises:
        UsageError: The pools lack either.
    """

    def __init__(self, config: TrainConfig, n_pairs: int, aside: bool) -> None:
        alike = {"labelled_share": 0.0, "generated_share": 1.0}
        super().__init__(config.model_copy(update=alike), -(-n_pairs // config.batch_pairs))
        self._beside = BESIDE

        def ours(name: str, row: int) -> bool:
            return is_held_out(f"choose {self._pools[name].groups[row]}") == aside

        self._genuine = {
            name: np.array([row for row in rows if ours(name, row)], np.int64)
            for name, rows in self._genuine.items()
        }
        self._generated_rows = [face for face in self._generated_rows if ours(*face)]
        if not self._generated_rows or not any(len(rows) for rows in self._genuine.values()):
            raise UsageError(
                f"{config.work / 'pools'} holds too few wholly generated faces (fakes without a "
                "genuine face in their group) or genuine ones, of allowed licences, for a second "
                "look at stills."
            )

    @property
    def n_generated(self) -> int:
        """Distinct generated faces."""
        return len(self._generated_rows)

    def sources(self) -> tuple[DataSource, ...]:
        """Return what the pairs are drawn from, for the card."""
        rows = {name: list(genuine) for name, genuine in self._genuine.items()}
        for name, row in self._generated_rows:
            rows[name].append(row)
        used = {n: (self._pools[n], np.array(own, np.int64)) for n, own in rows.items() if own}
        return cards.counted(used)


def add_synthesis(
    config: TrainConfig, base: Checkpoint, network: FrameEncoder, out: Path
) -> ModelCard:
    """Write a checkpoint with a second network for stills and return its card.

    All else stays, but for the calibration of images, which now are judged by both networks, and
    for thresholds that genuine stills would reach too often by then.

    Args:
        config: Pools and seed, as `fitting` returns it.
        base: A detector; a former second network is replaced.
        network: One that knows pictures in general (`initial.general`); its head is set.
        out: Directory of the new checkpoint.

    Raises:
        UsageError: No generated faces to learn from, or features that tell nothing of them.
    """
    started = time.monotonic()
    torch.set_num_threads(config.threads)
    network.eval().to(device_of(config))
    n_aside = max(config.batch_pairs, config.synthesis_pairs // ASIDE)
    pairs = GeneratedPairs(config, config.synthesis_pairs, aside=False)
    others = GeneratedPairs(config, n_aside, aside=True)
    unseen = _features(network, config, others)
    auc = fit(network.head, _features(network, config, pairs), unseen)
    print(f"second look at stills: AUC {auc:.4f} on pairs kept aside", flush=True)
    parts = {k: v for k, v in base.weights.items() if not k.startswith(f"{PART}.")}
    parts |= {f"{PART}.{k}": v.cpu().numpy() for k, v in network.state_dict().items()}
    command = cards.command(config)
    training = base.card.training.model_copy(
        update={
            "command": f"{base.card.training.command}; {command}",
            "data": cards.with_sources(base.card.training.data, pairs.sources()),
        }
    )
    card = base.card.model_copy(
        update={
            **cards.renamed(base.card, config),
            "architecture": config.architecture,
            "description": cards.description(config, config.architecture),
            "limitations": (*config.limitations, *cards.limitations_of(base.card, config)),
            "training": training,
        }
    )
    alone = Metric(
        name="AUC, second look alone",
        data=f"draws of {others.n_generated} generated faces and of genuine ones, none of which it "
        "was fitted to, though calibrated on",
        value=auc,
        n=len(unseen[1]),
        command=command,
    )
    detector = Checkpoint(card, checkpoint.narrow(parts))
    card = _calibrated(detector, config, alone)
    hours = training.hours + (time.monotonic() - started) / 3600
    training = training.model_copy(update={"hours": hours})
    return checkpoint.save(out, card.model_copy(update={"training": training}), parts).card


def fitting(config: TrainConfig, card: ModelCard) -> TrainConfig:
    """Return the settings with a detector's own encoder, crops and normalisation."""
    architecture = card.architecture.model_copy(update={PART: True})
    return config.model_copy(
        update={"architecture": architecture, "preprocessing": card.preprocessing}
    )


def _calibrated(detector: Checkpoint, config: TrainConfig, alone: Metric) -> ModelCard:
    """Return the card with images calibrated by both looks, and their figures."""
    card, faces = detector.card, image_scores.faces(config)
    found = []
    if len(faces):
        odds = image_scores.odds(detector, faces.crops, config)
        image = evaluate.platt(faces.labels, odds)
        genuine = evaluate.probability(odds[faces.labels == 0], image)
        others = {
            name: evaluate.probability(image_scores.odds(detector, crops, config), image)
            for name, crops in image_scores.genuine(config).items()
        }
        bands = thresholds(np.concatenate([genuine, *others.values()]), config.target_fpr)
        if card.architecture.temporal != "none":  # those of its films hold as well
            bands = highest(bands, card.thresholds)
        card = card.model_copy(update={"image_calibration": image, "thresholds": bands})
        about: dict[str, Any] = {"data": faces.about, "command": alone.command}
        both = evaluate.auc_figure(faces.labels, odds, faces.groups)
        found.append(Metric(name="AUC, both looks", **about, **both.as_dict()))
        if faces.paired:
            order = evaluate.pair_order(faces.labels, odds, faces.groups)
            n_pairs = len(faces) // 2
            found.append(Metric(name="pair order, both looks", value=order, n=n_pairs, **about))
        others["dfdc_dev" if faces.paired else "held out"] = genuine
        found += [
            Metric(
                name="false alarms of stills",
                data=f"held-out genuine faces of the pool {name}, at `suspicious`",
                value=float((chances >= bands.suspicious).mean()),
                n=len(chances),
                command=alone.command,
            )
            for name, chances in others.items()
        ]
    found.append(alone)
    names = {metric.name for metric in found}
    kept = (_named(m, faces.about) for m in card.metrics if m.name not in names)
    return card.model_copy(update={"metrics": (*found, *kept)})


def _named(metric: Metric, about: str) -> Metric:
    """Return a figure of the same faces with what it is of, now that there are two networks."""
    if metric.data != about:
        return metric
    return metric.model_copy(update={"data": f"{about} (frame encoder alone)"})


def fit(head: nn.Linear, learned: tuple[Tensor, Tensor], aside: tuple[Tensor, Tensor]) -> float:
    """Set a linear layer to the log-odds of synthesis and return its AUC on what it did not see.

    Args:
        head: (1, D); set to a ridge regression whose odds are calibrated (Platt) and corrected to
            `PRIOR`.
        learned: Features (N, D) and labels (N,).
        aside: As many of each class, for calibration and the figure.

    Raises:
        UsageError: The features tell nothing.
    """
    x, labels = learned
    middle, spread = x.mean(0), x.std(0)
    spread = spread + DEAD * spread.mean()
    normal = (x - middle) / spread
    weight = torch.zeros(x.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    search: torch.optim.Optimizer = torch.optim.LBFGS([weight, bias], max_iter=300)

    def loss() -> float:
        search.zero_grad()
        odds = normal @ weight + bias
        total = F.binary_cross_entropy_with_logits(odds, labels) + RIDGE * weight.square().sum()
        torch.autograd.backward(total)
        return float(total.detach())

    search.step(loss)
    direction = (weight / spread).detach()
    offset = float(bias.detach() - middle @ direction)
    odds = (aside[0] @ direction + offset).numpy()
    truth = aside[1].numpy()
    scale = evaluate.platt(truth, odds)
    prior = math.log(PRIOR / (1 - PRIOR))
    if scale.slope * float(direction.abs().max()) > torch.finfo(torch.float16).max:
        raise UsageError(
            "The features of these initial weights hardly differ between faces: give --init the "
            "weights of a network that was trained on pictures."
        )
    with torch.no_grad():
        head.weight.copy_(scale.slope * direction)
        head.bias.fill_(scale.slope * offset + scale.intercept + prior)
    return evaluate.auc(truth, odds)


@torch.no_grad()
def _features(
    network: FrameEncoder, config: TrainConfig, pairs: GeneratedPairs
) -> tuple[Tensor, Tensor]:
    """Return features (N, D) and labels (N,) of all batches' crops, on the CPU."""
    device = device_of(config)
    loaders = n_loaders(config, device)
    batches = DataLoader(pairs, batch_size=None, num_workers=loaders, worker_init_fn=start_loader)
    found, labels = [], []
    for crops, truth in told(batches, "batches for the second look", len(pairs)):
        features, _ = network(normalise(crops.to(device), config.preprocessing))
        found.append(features.cpu())
        labels.append(truth)
    return torch.cat(found), torch.cat(labels)
