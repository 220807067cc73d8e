"""The motion encoder, trained end to end with a small recurrent head on forged clips.

The clips are forged once and kept as maps (`training.mapped_clips`). A run goes on where it was:
making clips after the last hundred, training after the last epoch.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture
from dfd_batch.features.cnn import load_part
from dfd_batch.features.flow import (
    CELLS,
    CHANNELS,
    TURNED_BY_MIRROR,
    TURNED_BY_REVERSAL,
    Maps,
)
from dfd_batch.features.motion import MotionEncoder
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.outcomes import UsageError
from dfd_batch.training import evaluate, forge_clip
from dfd_batch.training.clips import clips_mark
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.depthwise import speed_up
from dfd_batch.training.devices import device_of
from dfd_batch.training.mapped_clips import MappedClips, mapped_clips
from dfd_batch.training.precision import autocast
from dfd_batch.training.progress import told

HEAD = Architecture(temporal="gru", hidden=96)
BATCH_PAIRS = 16
SHORTER_SHARE, REVERSED_SHARE, HIDDEN_SHARE = 0.3, 0.3, 0.3
HIDDEN_CELLS = 0.1
SMOOTHING = 0.03
SPLICED_SHARE = 0.5
"""Of the twins forged throughout, those that are shown forged in a stretch only."""
ORDER_WEIGHT = 0.5
"""Of the loss that asks only for the right order of twins, who share all that is not forged."""
HELD_OUT_PAIRS = 300


class _Model(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = MotionEncoder(width, dropout=0.2)
        self.head = TemporalHead(HEAD, width, dropout=0.2)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return clip logits (B,) and frame logits (B, T) of maps (B, T - 1, C, 14, 14)."""
        features = self.encoder(maps)
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=maps.device)
        found: tuple[Tensor, Tensor] = self.head(features.float(), mask)
        return found


def fit_motion(config: TrainConfig) -> MotionEncoder:
    """Return the motion encoder, trained to tell forged clips and frames from genuine ones.

    Args:
        config: Sizes, seed and the work directory, which keeps clips and state.
    """
    device, n_pairs, epochs = device_of(config), config.motion_pairs, config.motion_epochs
    width = config.architecture.motion
    mark = clips_mark(config)
    train, check = (
        mapped_clips(config, n, held_out, config.work / f"motion-{name}-{mark}")
        for n, held_out, name in (
            (n_pairs, False, "train"),
            (min(HELD_OUT_PAIRS, n_pairs), True, "held_out"),
        )
    )
    torch.manual_seed(config.seed)
    model = _Model(width).to(device)
    started = ""
    if config.motion_start:
        begun = encoder_of(config.motion_start, width)
        model.encoder.load_state_dict(begun.state_dict())
        started = f"-{digest(begun)}"
    speed_up(model)
    rate = config.motion_rate
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.05)
    steps = -(-n_pairs // BATCH_PAIRS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps * epochs, pct_start=0.2
    )
    parts: dict[str, Any] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    about = f"{width}-{n_pairs}-{epochs}-{rate:g}-{SPLICED_SHARE:g}"
    state, done = config.work / f"motion-{mark}-{about}{started}.pt", 0
    if state.is_file():
        kept = torch.load(state, weights_only=True, map_location=device)
        done = kept["epoch"]
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    for epoch in range(done, epochs):
        rng = np.random.default_rng([config.seed, 17, epoch])
        torch.manual_seed(int(rng.integers(2**31)))  # of dropout: the same in a run that goes on
        model.train()
        total = 0.0
        parts_of_epoch = np.array_split(rng.permutation(n_pairs), steps)
        for pairs in told(parts_of_epoch, f"steps of motion epoch {epoch + 1}", steps):
            loss = _loss(model, train, pairs, rng, device)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        found = {"epoch": epoch + 1, "loss": round(total / steps, 4), **_aucs(model, check, device)}
        print("motion", json.dumps(found), flush=True)
        partial = state.with_suffix(".partial")
        torch.save({"epoch": epoch + 1} | {k: v.state_dict() for k, v in parts.items()}, partial)
        partial.replace(state)
    encoder: MotionEncoder = model.encoder.eval()
    return encoder


def encoder_of(detector: str, width: int) -> MotionEncoder:
    """Return the motion encoder of a checkpoint.

    Args:
        detector: Directory or shipped name.
        width: Motion features that are wanted.

    Raises:
        UsageError: It has none, or one of another width.
    """
    source = checkpoint.load(detector)
    theirs = source.card.architecture.motion
    if theirs != width:
        raise UsageError(
            f"{detector} has {theirs} motion features, wanted are {width}; name another checkpoint "
            "(motion_from, motion_start) or set architecture.motion."
        )
    encoder = MotionEncoder(width)
    load_part(encoder, source, "motion")
    return encoder.eval()


def digest(network: nn.Module) -> str:
    """Return a name of a network's weights."""
    digested = hashlib.sha256()
    for tensor in network.state_dict().values():
        digested.update(tensor.cpu().numpy().tobytes())
    return digested.hexdigest()[:12]


def varied(maps: Tensor, labels: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return clips (B, T - 1, C, 14, 14) and labels (B, T) as they might have been as well.

    Mirrored, backwards, moved by a cell, only some of the frames, without some cells.
    """
    if rng.random() < 0.5:
        maps = maps.flip(-1) * _signs(TURNED_BY_MIRROR, maps)
    if rng.random() < REVERSED_SHARE:
        maps, labels = maps.flip(1) * _signs(TURNED_BY_REVERSAL, maps), labels.flip(1)
    down, right = (int(v) for v in rng.integers(-1, 2, 2))
    maps = maps.roll((down, right), (-2, -1))
    length = labels.shape[1]
    if rng.random() < SHORTER_SHARE and length > 4:
        kept = int(rng.integers(length // 2, length))
        first = int(rng.integers(0, length - kept + 1))
        maps, labels = maps[:, first : first + kept - 1], labels[:, first : first + kept]
    if rng.random() < HIDDEN_SHARE:
        shown = rng.random((len(maps) // 2, 1, 1, CELLS, CELLS), np.float32) > HIDDEN_CELLS
        maps = maps * torch.from_numpy(np.repeat(shown, 2, 0)).to(maps.device)
    return maps, labels


def stretch(labels: NDArray[np.float32], rng: Generator) -> NDArray[np.bool_]:
    """Return which frames (N, T) of twins become their genuine twin's: a forgery within bounds.

    Args:
        labels: (N, T), genuine before fake.
        rng: Every choice is drawn from it.
    """
    spliced = np.zeros(labels.shape, bool)
    for row in range(1, len(labels), 2):
        if labels[row].all() and rng.random() < SPLICED_SHARE:
            spliced[row] = forge_clip.draw_stretches(labels.shape[1], rng) == 0
    return spliced


def spliced(
    maps: Maps, labels: NDArray[np.float32], rng: Generator
) -> tuple[Maps, NDArray[np.float32]]:
    """Return twins, some forged in a stretch only; a step is forged between two forged frames."""
    genuine = stretch(labels, rng)
    show_twin(maps, genuine[:, 1:] | genuine[:, :-1])
    return maps, np.where(genuine, np.float32(0), labels)


def show_twin(values: NDArray[Any], where: NDArray[np.bool_]) -> None:
    """Replace values (N, T, ...) of fakes by their genuine twins', where (N, T) that is wanted."""
    rows, times = np.nonzero(where)
    values[rows, times] = values[rows - 1, times]


def _signs(turned: tuple[str, ...], maps: Tensor) -> Tensor:
    signs = [-1.0 if name in turned else 1.0 for name in CHANNELS]
    return torch.tensor(signs, device=maps.device)[:, None, None]


def _loss(
    model: _Model,
    data: MappedClips,
    pairs: NDArray[np.int64],
    rng: Generator,
    device: torch.device,
) -> Tensor:
    """Return BCE(clip) + BCE(frame) + a loss of the twins' order, of some pairs."""
    rows = np.stack([2 * pairs, 2 * pairs + 1], 1).reshape(-1)
    maps, own_labels = spliced(data.maps[rows], data.labels[rows], rng)
    x = torch.from_numpy(maps).to(device).float()
    x, labels = varied(x, torch.from_numpy(own_labels).to(device), rng)
    with autocast(device.type):
        clip, frame = model(x)
    clip, frame, forged = clip.float(), frame.float(), labels.amax(1)
    smooth = 1 - 2 * SMOOTHING
    of_clips = F.binary_cross_entropy_with_logits(clip, forged * smooth + SMOOTHING)
    of_frames = F.binary_cross_entropy_with_logits(frame, labels * smooth + SMOOTHING)
    order = (F.softplus(clip[::2] - clip[1::2]) * forged[1::2]).mean()
    return of_clips + of_frames + ORDER_WEIGHT * order


@torch.inference_mode()
def _aucs(model: _Model, data: MappedClips, device: torch.device) -> dict[str, float]:
    """Return clip AUC over all and by operation, and frame AUC."""
    model.eval()
    clips, frames = [], []
    for start in range(0, len(data), 32):
        clip, frame = model(torch.from_numpy(data.maps[start : start + 32]).to(device))
        clips.append(clip.float().cpu().numpy())
        frames.append(frame.float().cpu().numpy())
    odds, operation = np.concatenate(clips), np.array(data.operations)
    truth = data.labels.max(1)
    found = {"AUC": evaluate.auc(truth, odds)}
    for name in sorted(set(data.operations)):
        found[name] = evaluate.auc(truth[operation == name], odds[operation == name])
    found["frames"] = evaluate.auc(data.labels.reshape(-1), np.concatenate(frames).reshape(-1))
    return {name: round(value, 3) for name, value in found.items()}
