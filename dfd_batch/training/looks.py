"""Early looks at development data, and curves of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dfd_batch.features.cnn import manipulated_logit, normalise
from dfd_batch.judge.thresholds import thresholds
from dfd_batch.training import evaluate, held_out
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Image, Pool, evaluation_crops, work_pool


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
        _, raw = encoder(x)  # in full precision, as a scan: calibrations are made of these
        found.append(manipulated_logit(raw.float(), config.architecture).cpu().numpy())
    encoder.train(was_training)
    return np.concatenate(found).astype(np.float64)


def look(encoder: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Return the figures of the averaged encoder on whatever development pools there are."""
    found: dict[str, Any] = {}
    for name, measure in (("dfdc_dev", _pairs), ("looks", _dev), ("generated", _generated)):
        if (config.work / "pools" / name / "index.parquet").is_file():
            found |= measure(work_pool(config.work, name), encoder, config)
    if "dfdc_auc" not in found:
        found |= _held_out(encoder, config)
    return found


def measured_on(config: TrainConfig) -> str:
    """Return what names the media that `score` is of: looks at other ones are not comparable."""
    told = hashlib.sha256()
    development = config.work / "pools" / "dfdc_dev" / "index.parquet"
    every = sorted((config.work / "pools").glob("*/index.parquet"))
    for path in [development] if development.is_file() else every:
        told.update(path.parent.name.encode() + path.read_bytes())
    return told.hexdigest()[:12]


def score(found: dict[str, Any]) -> float:
    """Return what the best checkpoint is chosen by: the AUC on the largest development data.

    0 when there is nothing to measure on; of equals the later one counts.
    """
    figure = found.get("dfdc_auc") or found.get("held_out_auc")
    return float(figure["value"]) if figure else 0.0


def _held_out(encoder: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Return figures on the groups that training leaves out, labelled or else forged ones."""
    media = held_out.faces(config)
    if media is None:
        return {}
    odds = logits(encoder, media.crops, config)
    return {
        "held_out_auc": evaluate.auc_figure(media.labels, odds, media.groups).as_dict(),
        "held_out": media.kind,
        **_settled(media.labels, odds, config),
    }


def _pairs(pool: Pool, encoder: nn.Module, config: TrainConfig) -> dict[str, Any]:
    crops = evaluation_crops(pool, config.preprocessing.crop_size, np.arange(len(pool)))
    odds = logits(encoder, crops, config)
    return {
        "dfdc_auc": evaluate.auc_figure(pool.labels, odds, pool.groups).as_dict(),
        "dfdc_pair_order": evaluate.pair_order(pool.labels, odds, pool.groups),
        **_settled(pool.labels, odds, config),
    }


def _settled(
    labels: NDArray[np.integer[Any]], odds: NDArray[np.float64], config: TrainConfig
) -> dict[str, Any]:
    """Return calibration and thresholds for the card, from faces not trained on."""
    calibration = evaluate.platt(labels, odds)
    genuine = evaluate.probability(odds[labels == 0], calibration)
    bands = thresholds(genuine, config.target_fpr)
    return {"calibration": calibration.model_dump(), "thresholds": bands.model_dump()}


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
    """Return AUC of held-out generated faces against held-out genuine portraits, if there are."""
    size, rows = config.preprocessing.crop_size, pool.rows(1, True)
    if not (config.work / "pools" / "portraits" / "index.parquet").is_file():
        return {}
    portraits = work_pool(config.work, "portraits")
    some = portraits.rows(0, True)[: 2 * len(rows)]
    if not len(rows) or not len(some):
        return {}
    crops = np.concatenate(
        [evaluation_crops(pool, size, rows), evaluation_crops(portraits, size, some)]
    )
    label = np.repeat([1, 0], [len(rows), len(some)])
    return {"generated_auc": round(evaluate.auc(label, logits(encoder, crops, config)), 4)}


def curves(history: list[dict[str, Any]], path: Path) -> None:
    """Write the looks so far as a picture."""
    images = [h["images"] for h in history]
    figure, axes = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    axes[0].plot(images, [h["loss"] for h in history])
    axes[0].set(xlabel="images seen", ylabel="training loss")
    for key, label in (("dfdc_auc", "DFDC dev pairs"), ("held_out_auc", "held-out groups")):
        if not history or any(key not in h for h in history):
            continue
        auc = [h[key] for h in history]
        axes[1].plot(images, [a["value"] for a in auc], label=label, lw=2)
        if all(a["low"] is not None for a in auc):
            low, high = ([a[end] for a in auc] for end in ("low", "high"))
            axes[1].fill_between(images, low, high, alpha=0.2)
    names = [k for k in (history[0] if history else {}) if k.startswith("dev_") or "gen" in k]
    for name in names:
        if isinstance(history[0][name], float):
            axes[1].plot(images, [h[name] for h in history], label=name, lw=0.8)
    axes[1].set(xlabel="images seen", ylabel="AUC", ylim=(0, 1.01))
    if axes[1].get_legend_handles_labels()[0]:  # else looks at different media have no line
        axes[1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
