"""Faces redrawn by small autoencoders: the traces of a decoder without any generator at hand.

A face that a network has drawn carries the traces of its up-convolutions (Odena et al., Distill
2016; Wang et al., CVPR 2020), whatever it was trained for. A picture beside its own reconstruction
is a pair that differs in nothing else ("aligned data", Rajan et al., 2024). Several kinds of
up-sampling are trained, each for some minutes on genuine faces, and redraw every face once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd_batch.training.pools import Image, Pool
from dfd_batch.training.precision import autocast

CPU = torch.device("cpu")
Rows = NDArray[np.int64]
WINDOW_PX = 128
BATCH = 16
COLOUR_PX = 3.0
"""Standard deviation of the blur that tells colour from drawing."""


@dataclass(frozen=True)
class Kind:
    """One autoencoder: how much it shrinks, how wide its code is, how it enlarges."""

    shrink: int  # 4 or 8
    code: int  # channels
    enlarge: str  # nearest, bilinear, transposed or shuffle


KINDS = {
    "nearest-4": Kind(4, 6, "nearest"),
    "transposed-4": Kind(4, 8, "transposed"),
    "shuffle-8": Kind(8, 24, "shuffle"),
    "bilinear-8": Kind(8, 20, "bilinear"),
}


class Redrawer(nn.Module):
    """A convolutional autoencoder of pictures (N, 3, H, W) in -1..1, H and W multiples of 8."""

    def __init__(self, kind: Kind, width: int = 48) -> None:
        super().__init__()
        steps = {4: 2, 8: 3}[kind.shrink]
        layers: list[nn.Module] = [nn.Conv2d(3, width // 2, 3, padding=1), nn.LeakyReLU(0.1)]
        channels = width // 2
        for _ in range(steps):
            layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.LeakyReLU(0.1)]
            channels = width
        layers += [_Residual(width), nn.Conv2d(width, kind.code, 1)]
        layers += [nn.Conv2d(kind.code, width, 3, padding=1), _Residual(width)]
        for step in range(steps):
            narrow = width if step < steps - 1 else width // 2
            layers += [_enlarge(kind.enlarge, width, narrow), nn.LeakyReLU(0.1)]
        layers.append(nn.Conv2d(width // 2, 3, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the picture drawn again."""
        drawn: Tensor = self.layers(x)
        return drawn


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor(self.inside(x))


def _enlarge(how: str, width: int, out: int) -> nn.Module:
    if how == "transposed":
        return nn.ConvTranspose2d(width, out, 4, 2, 1)
    if how == "shuffle":
        return nn.Sequential(nn.Conv2d(width, 4 * out, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=how), nn.Conv2d(width, out, 3, padding=1))


def fit(
    kind: Kind,
    sources: Sequence[tuple[Pool, Rows]],
    steps: int,
    seed: int,
    device: torch.device = CPU,
) -> Redrawer:
    """Return an autoencoder trained on random windows of the genuine ones of pools' rows."""
    learned = [(pool, rows[pool.labels[rows] == 0]) for pool, rows in sources]
    learned = [(pool, rows) for pool, rows in learned if len(rows)]
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 17])
    model = Redrawer(kind)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), 2e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    started = time.monotonic()
    for step in range(steps):
        x = _scaled(np.stack([_window(learned, rng) for _ in range(BATCH)]), device)
        with autocast(device.type):
            drawn = model(x)
        loss = _loss(drawn.float(), x)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            shown = float(loss.detach())
            took = time.monotonic() - started
            print(f"{kind}: step {step + 1} of {steps}, loss {shown:.4f}, {took:.0f} s", flush=True)
    return model.eval()


def _loss(drawn: Tensor, x: Tensor) -> Tensor:
    """Return absolute error plus that of the fine detail, which the former alone would blur."""
    fine_drawn, fine = (v - F.avg_pool2d(v, 5, 1, 2, count_include_pad=False) for v in (drawn, x))
    return (drawn - x).abs().mean() + 2 * (fine_drawn - fine).abs().mean()


def _window(sources: Sequence[tuple[Pool, Rows]], rng: np.random.Generator) -> Image:
    pool, rows = sources[int(rng.integers(len(sources)))]
    patch = pool.patches[int(rng.choice(rows))]
    top, left = (int(v) for v in rng.integers(0, patch.shape[0] - WINDOW_PX + 1, 2))
    window = patch[top : top + WINDOW_PX, left : left + WINDOW_PX]
    return np.asarray(window[:, ::-1] if rng.random() < 0.5 else window, np.uint8)


def _scaled(images: Image, device: torch.device) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def redrawn(model: Redrawer, images: Image) -> Image:
    """Return pictures (N, H, W, 3) as the autoencoder draws them.

    Their colours stay the pictures' own: a network trained for minutes fades them, and that alone
    would give the drawn ones away.
    """
    device = next(model.parameters()).device
    x = _scaled(images, device)
    with autocast(device.type):
        drawn = model(x).float()
    kept = drawn + _blurred(x - drawn)
    pixels = ((kept + 1) * 127.5 + 0.5).clamp(0, 255).byte()
    return np.asarray(pixels.permute(0, 2, 3, 1).contiguous().cpu(), np.uint8)


def _blurred(x: Tensor) -> Tensor:
    """Return images (N, 3, H, W) after a Gaussian blur of `COLOUR_PX`."""
    reach = round(3 * COLOUR_PX)
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float32)
    bell = torch.exp(-0.5 * (at / COLOUR_PX) ** 2)
    bell = (bell / bell.sum()).expand(3, 1, 1, -1)
    x = F.pad(x, (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(x, bell, groups=3), bell.transpose(2, 3), groups=3)


def redraw(
    work: Path,
    used: Mapping[str, tuple[Pool, Rows]],
    steps: int = 900,
    seed: int = 0,
    device: torch.device = CPU,
    mark: str = "",
) -> None:
    """Write `redrawn<mark>.u8` beside pools' patches: the genuine faces, the rest left black.

    The kinds take turns over the rows. What exists is kept. Every genuine face is drawn, as
    held-out ones are measured on; the autoencoders learn from the used rows alone.

    Args:
        work: Directory with prepared pools.
        used: Pools by name, each with the rows that training uses (`selection.used_rows`).
        steps: Training steps of each autoencoder.
        seed: Of their weights and windows.
        device: Where the autoencoders learn and draw.
        mark: Of the media that are used (`TrainConfig.media_mark`).
    """
    sources = {
        name: pool for name, (pool, rows) in used.items() if len(rows) and (pool.labels == 0).any()
    }
    if all(_path(work, name, mark).is_file() for name in sources):
        return
    models = []
    for name, kind in KINDS.items():
        kept = work / f"redraw-{name}-{steps}-{seed}{mark}.pt"
        if not kept.is_file():
            learned = fit(kind, list(used.values()), steps, seed, device)
            torch.save(learned.state_dict(), kept)
        model = Redrawer(kind)
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.load_state_dict(torch.load(kept, weights_only=True, map_location=device))
        models.append(model.eval())
    for name, pool in sources.items():
        final = _path(work, name, mark)
        if not final.is_file():
            partial = final.with_suffix(".partial")
            _write(pool, models, partial)
            partial.replace(final)


def _write(pool: Pool, models: list[Redrawer], path: Path) -> None:
    out = np.memmap(path, np.uint8, "w+", shape=pool.patches.shape)
    for k, model in enumerate(models):
        rows = np.flatnonzero(pool.labels == 0)[k :: len(models)]
        for start in range(0, len(rows), 16):
            part = rows[start : start + 16]
            out[part] = redrawn(model, pool.patches[part])
    out.flush()


def read(work: Path, name: str, pool: Pool, mark: str | None = None) -> Image | None:
    """Return a pool's redrawn faces (N, P, P, 3), None where there are none.

    Args:
        work: Directory with prepared pools.
        name: Of the pool.
        pool: The pool.
        mark: Of the media that the autoencoders may have learned from, for training
            (`TrainConfig.media_mark`); None: any, to look at or to measure on.
    """
    path = _path(work, name, mark or "")
    if mark is None and not path.is_file():
        path = min(path.parent.glob("redrawn-*.u8"), default=path)
    return np.memmap(path, np.uint8, "r", shape=pool.patches.shape) if path.is_file() else None


def _path(work: Path, name: str, mark: str) -> Path:
    return work / "pools" / name / f"redrawn{mark}.u8"
