"""Early looks at development data, curves of them, and the checkpoint that they choose."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dfd_batch import __version__, checkpoint
from dfd_batch.checkpoint import DataSource, Metric, ModelCard, Training
from dfd_batch.features.cnn import manipulated_logit, normalise
from dfd_batch.training import evaluate
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import PairBatches, evaluation_crops, work_pool
from dfd_batch.training.pools import Image, Pool

COMMAND = "dfd train --data DATA --work WORK --out OUT"
LIMITATIONS = (
    "Provisional: trained for about two hours on two processor cores.",
    "Chosen on the DFDC development pairs (labelled/dfdc, split dev), whose identities may also "
    "occur in the training pairs; figures on them flatter.",
    "Trained mostly on face swaps; wholly generated faces and lip-synced or reenacted heads are "
    "known to it from few examples.",
    "Few actors and few light situations stand behind the labelled pairs.",
    "A verdict is a hint for a human, not a proof.",
)


@torch.inference_mode()
def logits(encoder: nn.Module, crops: Image, config: TrainConfig) -> NDArray[np.float64]:
    """Return log-odds of manipulation (N,) of crops (N, S, S, 3)."""
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    found = []
    for start in range(0, len(crops), 64):
        x = normalise(torch.from_numpy(crops[start : start + 64]).to(device), config.preprocessing)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            _, raw = encoder(x)
        found.append(manipulated_logit(raw.float(), config.architecture).cpu().numpy())
    encoder.train(was_training)
    return np.concatenate(found).astype(np.float64)


def look(encoder: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Return the figures of the averaged encoder on whatever development pools there are."""
    found: dict[str, Any] = {}
    for name, measure in (("dfdc_dev", _pairs), ("looks", _dev), ("generated", _generated)):
        if (config.work / "pools" / name / "index.parquet").is_file():
            found |= measure(work_pool(config.work, name), encoder, config)
    return found


def score(found: dict[str, Any]) -> float:
    """Return what the best checkpoint is chosen by: the AUC on the DFDC development pairs."""
    return float(found["dfdc_auc"]["value"]) if "dfdc_auc" in found else 0.0


def _pairs(pool: Pool, encoder: nn.Module, config: TrainConfig) -> dict[str, Any]:
    crops = evaluation_crops(pool, config.preprocessing.crop_size, np.arange(len(pool)))
    odds = logits(encoder, crops, config)
    calibration = evaluate.platt(pool.labels, odds)
    return {
        "dfdc_auc": evaluate.auc_figure(pool.labels, odds, pool.groups).as_dict(),
        "dfdc_pair_order": evaluate.pair_order(pool.labels, odds, pool.groups),
        "calibration": calibration.model_dump(),
    }


def _dev(pool: Pool, encoder: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Return AUC of development media by method, videos by the mean of their frames' logits."""
    crops = evaluation_crops(pool, config.preprocessing.crop_size, np.arange(len(pool)))
    odds = logits(encoder, crops, config)
    media: dict[str, list[int]] = {}
    for row, file in enumerate(pool.files):
        media.setdefault(file, []).append(row)
    rows = list(media.values())
    mean = np.array([odds[r].mean() for r in rows])
    label = np.array([pool.labels[r[0]] for r in rows])
    method = [pool.methods[r[0]] for r in rows]
    video = np.array([file.startswith("videos") for file in media])
    found: dict[str, Any] = {}
    for kind in sorted({m for m, y in zip(method, label, strict=True) if y == 1}):
        ours = np.array([m == kind for m in method])
        peers = (label == 0) & (video == video[ours][0])
        take = ours | peers
        found[f"dev_{kind}"] = round(evaluate.auc(label[take], mean[take]), 4)
    genuine = (label == 0) & video
    found["dev_genuine_video_logits"] = [round(float(v), 2) for v in np.sort(mean[genuine])]
    return found


def _generated(pool: Pool, encoder: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Return AUC of held-out generated faces against held-out genuine portraits."""
    size, rows = config.preprocessing.crop_size, pool.rows(1, True)
    portraits = work_pool(config.work, "portraits")
    some = portraits.rows(0, True)[: 2 * len(rows)]
    crops = np.concatenate(
        [evaluation_crops(pool, size, rows), evaluation_crops(portraits, size, some)]
    )
    label = np.repeat([1, 0], [len(rows), len(some)])
    return {"generated_auc": round(evaluate.auc(label, logits(encoder, crops, config)), 4)}


def curves(history: list[dict[str, Any]], path: Path) -> None:
    """Write the looks so far as a picture."""
    images = [h["images"] for h in history]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    axes[0].plot(images, [h["loss"] for h in history])
    axes[0].set(xlabel="images seen", ylabel="training loss")
    if history and "dfdc_auc" in history[0]:
        auc = [h["dfdc_auc"] for h in history]
        axes[1].plot(images, [a["value"] for a in auc], label="DFDC dev pairs", lw=2)
        axes[1].fill_between(images, [a["low"] for a in auc], [a["high"] for a in auc], alpha=0.2)
    names = [k for k in (history[0] if history else {}) if k.startswith("dev_") or "gen" in k]
    for name in names:
        if isinstance(history[0][name], float):
            axes[1].plot(images, [h[name] for h in history], label=name, lw=0.8)
    axes[1].set(xlabel="images seen", ylabel="AUC", ylim=(0.3, 1))
    axes[1].legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def export(
    encoder: nn.Module, config: TrainConfig, entry: dict[str, Any], directory: Path
) -> ModelCard:
    """Write the encoder as a checkpoint without a temporal head and return its card."""
    weights = {f"encoder.{k}": v.cpu().numpy() for k, v in encoder.state_dict().items()}
    calibration = checkpoint.Calibration(**entry.get("calibration", {}))
    card = ModelCard(
        name="default",
        version=__version__,
        description="MobileNetV2-class frame encoder, provisional.",
        provisional=True,
        architecture=config.architecture.model_copy(update={"temporal": "none"}),
        preprocessing=config.preprocessing,
        image_calibration=calibration,
        video_calibration=calibration,
        training=Training(
            command=COMMAND + f" --seed {config.seed}",
            seed=config.seed,
            images_seen=entry["images"],
            hours=entry["hours"],
            hardware="2 CPU cores, bfloat16",
            data=sources(config),
        ),
        metrics=_metrics(entry),
        limitations=LIMITATIONS,
    )
    return checkpoint.save(directory, card, weights).card


def sources(config: TrainConfig) -> tuple[DataSource, ...]:
    """Return what was trained on, counted by source and licence."""
    counts: Counter[tuple[str, str]] = Counter()
    for name in PairBatches.needed(config):
        pool = work_pool(config.work, name)
        media = set(zip(pool.files, pool.methods, pool.licences, strict=True))
        title = {"dfdc": "DFDC training-set face crops"}.get(name)
        counts.update((title or method, licence) for _, method, licence in media)
    return tuple(DataSource(name=s, licence=lic, n=n) for (s, lic), n in sorted(counts.items()))


def _metrics(entry: dict[str, Any]) -> tuple[Metric, ...]:
    if "dfdc_auc" not in entry:
        return ()
    data = "labelled/dfdc split dev (400 pairs), faces; chosen on it"
    figure = entry["dfdc_auc"]
    return (
        Metric(name="AUC", data=data, command=COMMAND, **figure),
        Metric(
            name="pair order",
            data=data,
            value=entry["dfdc_pair_order"],
            n=figure["n"] // 2,
            command=COMMAND,
        ),
    )
