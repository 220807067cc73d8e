"""Stage A: the frame encoder, trained on twins; resumable, with early looks and averaged weights.

A run lives in its work directory: `state.pt` (everything needed to go on), `looks.jsonl`,
`curves.png`. The best averaged weights so far are always in `out` as a complete checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from dfd_batch.features.cnn import FrameEncoder, load_imagenet, manipulated_logit, normalise
from dfd_batch.training import looks
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import PairBatches
from dfd_batch.training.depthwise import speed_up
from dfd_batch.training.prepare import prepare
from dfd_batch.training.temporal import add_temporal

LOG_EVERY = 10


@dataclass
class Progress:
    """Where a run is; saved with its state."""

    step: int = 0
    elapsed_s: float = 0.0
    best: float = -math.inf
    loss: float = math.nan  # running mean
    next_look: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


class EncoderRun:
    """A stage A run: goes on where its work directory left off."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.model = _build(config)
        self.average = AveragedModel(self.model, avg_fn=_Ema(config.ema_decay), use_buffers=True)
        self.optimiser = torch.optim.AdamW(_groups(self.model, config), betas=(0.9, 0.99))
        self.progress = Progress(next_look=config.look_images // 2)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for module in (self.model, self.average):
            module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._state = config.work / "state.pt"
        if self._state.is_file():
            self._resume()

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.progress.step * 2 * self.config.batch_pairs

    @property
    def done(self) -> float:
        """Share of the schedule that is behind, by the clock or by the images."""
        if self.config.minutes is not None:
            return self.progress.elapsed_s / (60 * self.config.minutes)
        return self.images / self.config.images

    def run(self, until_step: int | None = None) -> None:
        """Train to the end of the schedule, or stop and save after a step."""
        saved = last = time.monotonic()
        for crops, labels in self._batches():
            if self.done >= 1:
                break
            self._step(crops, labels)
            if self.progress.step == until_step:
                self.save()
                return
            now = time.monotonic()
            self.progress.elapsed_s, last = self.progress.elapsed_s + now - last, now
            if self.progress.step % LOG_EVERY == 0:
                self._say()
            if self.images >= self.progress.next_look:
                self._look()
            if now - saved > 60 * self.config.save_minutes:
                self.save()
                saved = time.monotonic()
        self._look()
        self.save()

    def save(self) -> None:
        """Write the state so that a kill in between leaves the former one."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            "progress": vars(self.progress),
        }
        partial = self._state.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._state)

    def _resume(self) -> None:
        state = torch.load(self._state, weights_only=True, map_location="cpu")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        self.progress = Progress(**state["progress"])

    def _batches(self) -> DataLoader[tuple[Tensor, Tensor]]:
        # By the clock the number of steps is not known; the loop ends it.
        per_batch = 2 * self.config.batch_pairs
        last = 10**7 if self.config.minutes else math.ceil(self.config.images / per_batch)
        data = PairBatches(self.config, last)
        return DataLoader(
            data,
            batch_size=None,
            sampler=range(self.progress.step, last),
            num_workers=self.config.workers,
            generator=torch.Generator(),  # else every start would draw from the dropout's stream
            prefetch_factor=3 if self.config.workers else None,
        )

    def _step(self, crops: Tensor, labels: Tensor) -> None:
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        x = normalise(crops.to(self.device), self.config.preprocessing)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            _, logits = self.model(x)
        odds = manipulated_logit(logits.float(), self.config.architecture)
        loss = twin_loss(odds, labels.to(self.device), self.config)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        p = self.progress
        p.step += 1
        value = float(loss.detach())
        p.loss = value if math.isnan(p.loss) else 0.98 * p.loss + 0.02 * value

    def _rate(self) -> float:
        """Return the learning rate: linear warm-up, then half a cosine to a fiftieth."""
        warm = min(1.0, (self.images + 1) / max(self.config.warmup_images, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.done)))
        return self.config.learning_rate * warm * (0.02 + 0.98 * cosine)

    def _say(self) -> None:
        p = self.progress
        speed = self.images / max(p.elapsed_s, 1e-9)
        print(
            f"{time.strftime('%H:%M:%S')} {self.done:6.1%} images {self.images} "
            f"loss {p.loss:.4f} lr {self._rate():.2e} {speed:.1f} images/s",
            flush=True,
        )

    def _look(self) -> None:
        """Measure the averaged weights on development data and keep them if they are the best."""
        p = self.progress
        p.next_look = self.images + self.config.look_images
        encoder = self.average.module
        found = looks.look(encoder, self.config)
        entry = {
            "images": self.images,
            "hours": round(p.elapsed_s / 3600, 4),
            "loss": p.loss,
            "lr": self._rate(),
            **found,
        }
        p.history.append(entry)
        with (self.config.work / "looks.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)
        looks.curves(p.history, self.config.work / "curves.png")
        looks.export(encoder, self.config, entry, self.config.work / "last")
        score = looks.score(found)
        if score > p.best:
            p.best = score
            looks.export(encoder, self.config, entry, self.config.out)


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


class _Ema:
    """Exponential average whose memory grows with the number of updates."""

    def __init__(self, decay: float) -> None:
        self._decay = decay

    def __call__(self, average: Tensor, current: Tensor, n_averaged: Tensor | int) -> Tensor:
        n = int(n_averaged)
        decay = min(self._decay, (1 + n) / (10 + n))
        if not average.is_floating_point():
            return current
        return torch.lerp(average, current, 1 - decay)


def _build(config: TrainConfig) -> FrameEncoder:
    encoder = FrameEncoder(config.architecture, config.dropout)
    if config.drop_path > 0:
        encoder.backbone = timm.create_model(
            config.architecture.encoder, num_classes=0, drop_path_rate=config.drop_path
        )
    path = config.initial_weights or (config.data / "weights" / "mobilenet_v2_imagenet.safetensors")
    if path.is_file():
        load_imagenet(encoder, path)
    speed_up(encoder)
    return encoder


def _groups(model: FrameEncoder, config: TrainConfig) -> list[dict[str, Any]]:
    """Return parameters with and without weight decay (norms and biases without)."""
    plain = [p for p in model.parameters() if p.ndim < 2]
    heavy = [p for p in model.parameters() if p.ndim >= 2]
    return [
        {"params": heavy, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def train(config: TrainConfig) -> Path:
    """Train encoder and temporal head and return the checkpoint's directory; run again, it goes on.

    Args:
        config: What to read, write and do.
    """
    config.work.mkdir(parents=True, exist_ok=True)
    (config.work / "config.json").write_text(config.model_dump_json(indent=1), encoding="utf-8")
    prepare(config.data, config.work, config.preprocessing.margin)
    EncoderRun(config).run()
    if config.architecture.temporal != "none":
        add_temporal(config, config.out, config.out)
    return config.out
