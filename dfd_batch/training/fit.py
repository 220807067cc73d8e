"""Stage A: the frame encoder, trained on twins; resumable, with early looks and averaged weights.

A run lives in its work directory: `state.pt` (everything needed to go on), `looks.jsonl`,
`curves.png`, and the averaged weights of the best and the last look as checkpoints. The best ones
so far are always in `out` as well. What a
step does depends on nothing but the weights before it, the settings and its number, so a run that
goes on from any saved state ends as one that was never stopped.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from dfd_batch.features.cnn import manipulated_logit, normalise
from dfd_batch.training import cards, initial, looks
from dfd_batch.training.adversarial import adversarial_batch
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import PairBatches
from dfd_batch.training.depthwise import speed_up
from dfd_batch.training.devices import device_of, n_loaders, start_loader
from dfd_batch.training.heap import kept_heap
from dfd_batch.training.interrupt import Interrupts
from dfd_batch.training.optimise import (
    Ema,
    adamw,
    learning_rate,
    nearer,
    sharpness_gradient,
    twin_loss,
)
from dfd_batch.training.precision import autocast

LOSS_MEMORY = 0.98
"""Of the running mean that is shown."""
LOSS_EVERY = 10
"""Steps between two readings of the loss."""


def best_of(work: Path) -> Path:
    """Return where a work directory keeps the encoder of its best look."""
    return work / "best"


@dataclass
class Progress:
    """Where a run is; saved with its state."""

    step: int = 0
    elapsed_s: float = 0.0
    best: float = -math.inf
    loss: float = math.nan  # running mean
    next_look: int = 0
    measured_on: str = ""  # what the best look was at
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Standing:
    """What a run tells of itself after a step."""

    done: float  # share of the schedule, 0..1
    images: int
    images_per_s: float
    left_s: float
    loss: float  # running mean; NaN before the first step
    learning_rate: float
    look: dict[str, Any] | None  # the last one


Listener = Callable[[Standing], None]


class EncoderRun:
    """A stage A run: goes on where its work directory left off.

    In a process group (torch.distributed) each process takes its share of every step's pairs, the
    first one looks and saves.

    Args:
        config: What to read, write and do.
        listener: Told how far the run is, after every step.
    """

    def __init__(self, config: TrainConfig, listener: Listener | None = None) -> None:
        self.config = config
        self._listener = listener or (lambda standing: None)
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        torch.backends.cudnn.deterministic = config.minutes is None
        self.rank, self.world = (
            (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        )
        self.device = device_of(config)
        self.model = initial.build(config)
        if self.device.type == "cpu":
            speed_up(self.model)
        # What is kept lies between it and what was learned, if the settings say so.
        begun_from = self.model.state_dict() if config.start_share else {}
        self._start = {k: v.clone() for k, v in begun_from.items()}
        self.average = AveragedModel(self.model, avg_fn=Ema(config.ema_decay), use_buffers=True)
        for module in (self.model, self.average):
            module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = adamw(self.model, config)
        self.progress = Progress(next_look=config.look_images // 2)
        self._loss: Tensor | None = None  # stays on the device: reading it would stop the GPU
        self._state = config.work / "state.pt"
        if self._state.is_file():
            self._resume()
        # Times and wishes are told on CPUs, whatever the gradients travel by.
        self._clock: Any = dist.new_group(backend="gloo") if self.world > 1 else None
        self._net = self._parallel()

    def _parallel(self) -> nn.Module:
        net: nn.Module = self.model
        if self.world > 1:
            # Static: some encoders have parameters that no crop passes through.
            net = DistributedDataParallel(net, static_graph=True)
        return torch.compile(net) if self.config.compile else net  # type: ignore[return-value]

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

    def run(self, until_step: int | None = None, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end of the schedule and return whether it was reached.

        Args:
            until_step: Save and return after this step.
            stop: Asked before every step whether to save and return; Ctrl-C and SIGTERM do too.
        """
        if self.done >= 1 and self.progress.history and self._is_kept():
            print(f"frame encoder: trained before, {self.images:,} images", flush=True)
            self._put_out()
            return True
        with Interrupts() as interrupts, self._roomy():
            finished = self._steps(until_step, lambda: interrupts.any or stop())
            if self.rank == 0:
                if finished:
                    self._look()
                    self._put_out()
                    self._listener(self.standing())
                self.save()
        return finished

    def _is_kept(self) -> bool:
        """Return whether the best weights so far are there."""
        return (best_of(self.config.work) / "card.json").is_file()

    def _put_out(self) -> None:
        """Copy the best weights to where the settings want them, unless they are there."""
        if self.rank == 0 and not (self.config.out / "card.json").is_file():
            shutil.copytree(best_of(self.config.work), self.config.out, dirs_exist_ok=True)

    def _roomy(self) -> AbstractContextManager[None]:
        return kept_heap() if self.device.type == "cpu" else nullcontext()

    def _steps(self, until_step: int | None, stop: Callable[[], bool]) -> bool:
        saved = last = time.monotonic()
        for crops, labels in self._batches():
            if self._agreed(stop()) or self.progress.step == until_step:
                return False
            if self.done >= 1:
                break
            self._step(crops, labels)
            now = time.monotonic()
            self.progress.elapsed_s, last = self.progress.elapsed_s + now - last, now
            if self.rank:
                continue
            if self.images >= self.progress.next_look:
                self._look()
            self._listener(self.standing())
            if now - saved > 60 * self.config.save_minutes:
                self.save()
                saved = time.monotonic()
        return self.progress.step != until_step

    def _agreed(self, stop: bool) -> bool:
        """Return whether the first process wants to stop, and take over its clock."""
        if self.world == 1:
            return stop
        told = torch.tensor([float(stop), self.progress.elapsed_s], dtype=torch.float64)
        dist.broadcast(told, 0, group=self._clock)
        self.progress.elapsed_s = float(told[1])
        return bool(told[0])

    def save(self) -> None:
        """Write the state so that a kill in between leaves the former one."""
        self._read_loss()
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
            "start": self._start,
        }
        partial = self._state.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._state)

    def _resume(self) -> None:
        state = torch.load(self._state, weights_only=True, map_location="cpu")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        self._start = state.get("start") or self._start
        if not math.isnan(self.progress.loss):
            self._loss = torch.tensor(self.progress.loss, device=self.device)

    def _batches(self) -> DataLoader[tuple[Tensor, Tensor]]:
        # By the clock the number of steps is not known; the loop ends it.
        per_batch = 2 * self.config.batch_pairs
        last = 10**7 if self.config.minutes else math.ceil(self.config.images / per_batch)
        loaders = n_loaders(self.config, self.device)
        return DataLoader(
            PairBatches(self.config, last, self.rank, self.world),
            batch_size=None,
            sampler=range(self.progress.step, last),
            num_workers=loaders,
            generator=torch.Generator(),  # else every start would draw from the dropout's stream
            prefetch_factor=3 if loaders else None,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=start_loader,
        )

    def _step(self, crops: Tensor, labels: Tensor) -> None:
        config, p = self.config, self.progress
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.model.train()
        labels = labels.to(self.device, non_blocking=True)
        x = normalise(crops.to(self.device, non_blocking=True), config.preprocessing)
        x = x.contiguous(memory_format=torch.channels_last)
        draws = int(np.random.SeedSequence([config.seed, p.step, self.rank]).generate_state(1)[0])
        torch.manual_seed(draws)
        if config.adversarial_share > 0:
            with self._autocast():
                x = adversarial_batch(
                    self.model, x, labels, config.adversarial_eps, self._loss_of,
                    config.preprocessing, config.adversarial_share,
                )  # fmt: skip
        # The mean over processes must be the mean over pairs, whoever has how many.
        share = len(labels) * self.world / (2 * config.batch_pairs)

        def backward() -> Tensor:
            torch.manual_seed(draws)  # both passes of SAM drop the same
            with self._autocast():
                _, logits = self._net(x)
            loss = self._loss_of(logits, labels)
            torch.autograd.backward(share * loss)
            return loss.detach()

        self.optimiser.zero_grad(set_to_none=True)
        loss = backward()
        if config.optimizer == "sam":
            sharpness_gradient(self.model, backward, config.sam_rho)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        if self.rank == 0:
            self.average.update_parameters(self.model)
        self._loss = loss if self._loss is None else torch.lerp(loss, self._loss, LOSS_MEMORY)
        p.step += 1

    def _autocast(self) -> torch.autocast:
        return autocast(self.device.type, self.config.precision)

    def _loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        odds = manipulated_logit(logits.float(), self.config.architecture)
        return twin_loss(odds, labels, self.config)

    def probe(self) -> tuple[float, float]:
        """Return the seconds that making a batch and learning from it take; changes the weights."""
        began = time.monotonic()
        crops, labels = PairBatches(self.config, 1)[0]
        made = time.monotonic()
        with self._roomy():
            self._step(crops, labels)
            self._read_loss()
            return made - began, time.monotonic() - made

    def _rate(self) -> float:
        return learning_rate(self.config, self.images, self.done)

    def _read_loss(self) -> float:
        if self._loss is not None:
            self.progress.loss = float(self._loss)
        return self.progress.loss

    def standing(self) -> Standing:
        """Return how far the run is."""
        p, config = self.progress, self.config
        if p.step % LOSS_EVERY == 0 or math.isnan(p.loss):
            self._read_loss()
        speed = self.images / max(p.elapsed_s, 1e-9)
        left = (config.images - self.images) / max(speed, 1e-9)
        if config.minutes is not None:
            left = 60 * config.minutes - p.elapsed_s
        last = p.history[-1] if p.history else None
        return Standing(
            min(self.done, 1.0), self.images, speed, max(left, 0.0), p.loss, self._rate(), last
        )

    def _look(self) -> None:
        """Measure the averaged weights on development data and keep them if they are the best."""
        p, config = self.progress, self.config
        p.next_look = self.images + config.look_images
        encoder = nearer(self.average.module, self._start, config.start_share)
        found = looks.look(encoder, config)
        entry = {
            "images": self.images,
            "hours": round(p.elapsed_s / 3600, 4),
            "loss": self._read_loss(),
            "lr": self._rate(),
            **found,
        }
        p.history.append(entry)
        with (config.work / "looks.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        looks.curves(p.history, config.work / "curves.png")
        cards.export(encoder, config, entry, config.work / "last")
        score, measured_on = looks.score(found), looks.measured_on(config)
        if score >= p.best or measured_on != p.measured_on or not self._is_kept():
            p.best, p.measured_on = score, measured_on
            cards.export(encoder, config, entry, best_of(config.work))
            cards.export(encoder, config, entry, config.out)
