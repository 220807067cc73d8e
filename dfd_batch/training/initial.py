"""What the frame encoder knows when training begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import safetensors.torch
import timm
from safetensors import SafetensorError
from torch import Tensor

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Checkpoint, DataSource, ModelCard
from dfd_batch.features.cnn import FrameEncoder, load_imagenet, load_part
from dfd_batch.features.synthesis import network_of
from dfd_batch.outcomes import UsageError
from dfd_batch.training.config import TrainConfig

BUNDLED = Path("weights") / "mobilenet_v2_imagenet.safetensors"
"""Below `data`."""


def source(config: TrainConfig) -> str | Path | None:
    """Return what a run begins from, None where neither settings nor data say so."""
    if config.initial_weights is not None or config.data is None:
        return config.initial_weights
    bundled = config.data / BUNDLED
    fits = config.architecture.encoder == "mobilenetv2_100"
    return bundled if fits and bundled.is_file() else None


def parent(config: TrainConfig) -> Checkpoint | None:
    """Return the checkpoint that is fine-tuned, None where none is.

    Raises:
        UsageError: The settings name neither a file nor a checkpoint.
    """
    given = source(config)
    if not isinstance(given, Path) or given.is_file():
        return None
    return checkpoint.load(str(given))


def inherit(config: TrainConfig) -> TrainConfig:
    """Return the settings with what was not set taken from the weights that a run begins from.

    Raises:
        UsageError: Encoders differ, or the checkpoint learned from media of other licences.
    """
    if source(config) == "timm":
        known = timm.get_pretrained_cfg(config.architecture.encoder)
        wanted = {"mean": known.mean, "std": known.std} if known else {}
        wanted |= config.preprocessing.model_dump(exclude_unset=True)
        same = config.preprocessing.model_copy(update=wanted)
        return config.model_copy(update={"preprocessing": same})
    base = parent(config)
    if base is None:
        return config
    card = base.card
    check_licences(card, config, str(config.initial_weights))
    inherited = {
        key: getattr(card, key).model_copy(
            update=getattr(config, key).model_dump(exclude_unset=True)
        )
        for key in ("architecture", "preprocessing")
    }
    # Its second look at stills goes with the encoder that it was calibrated beside.
    alone = inherited["architecture"].model_copy(update={"synthesis": False})
    inherited["architecture"] = alone
    asked = config.architecture
    if card.architecture.temporal == "none" and "temporal" not in asked.model_fields_set:
        # an encoder alone is where a whole detector begins, not a wish for one without
        whole = inherited["architecture"].model_copy(update={"temporal": asked.temporal})
        inherited["architecture"] = whole
    config = config.model_copy(update=inherited)
    if card.architecture.encoder != config.architecture.encoder:
        raise UsageError(
            f"{config.initial_weights} holds a {card.architecture.encoder}, asked for is a "
            f"{config.architecture.encoder}: leave --encoder out or begin from other weights."
        )
    return config


def check_licences(card: ModelCard, config: TrainConfig, named: str) -> None:
    """Refuse a detector that learned from media which the settings do not allow.

    Args:
        card: Of the detector.
        config: With a choice of licences, or none.
        named: What the settings call the detector.

    Raises:
        UsageError: It did, or its card does not say.
    """
    closed = [s.licence for s in card.training.data if not config.allows(s.licence)]
    if config.licences and (closed or not card.training.data):
        told = f"media under {closed[0]!r}" if closed else "media that its card does not name"
        raise UsageError(
            f"{named} learned from {told}; with a choice of licences begin from other weights."
        )


def ancestry(config: TrainConfig) -> tuple[DataSource, ...]:
    """Return what the weights at the start had learned from, where a card says so."""
    base = parent(config)
    if base is None:
        return ()
    return tuple(
        s.model_copy(update={"use": "before fine-tuning"}) for s in base.card.training.data
    )


def build(config: TrainConfig) -> FrameEncoder:
    """Return the encoder as training begins.

    Raises:
        UsageError: The weights cannot be had or do not fit.
    """
    encoder = FrameEncoder(config.architecture, config.dropout)
    given = source(config)
    name = config.architecture.encoder
    if config.drop_path > 0:
        with suppress(TypeError):  # VGG, Xception and Inception have no such paths
            encoder.backbone = timm.create_model(
                name, num_classes=0, drop_path_rate=config.drop_path
            )
    base = parent(config)
    if base is not None:
        load_part(encoder, base, "encoder")
    elif given == "timm":
        there = _download(name)  # a VGG's has more layers than we use
        encoder.backbone.load_state_dict({k: there[k] for k in encoder.backbone.state_dict()})
    elif isinstance(given, Path):
        _load_file(encoder, name, given)
    return encoder


def general(config: TrainConfig) -> FrameEncoder:
    """Return the encoder as it was before any training on faces, for the second look at stills.

    Raises:
        UsageError: The settings name no such weights, or they cannot be had or do not fit.
    """
    given = source(config)
    if given == "none" or given is None or parent(config) is not None:
        raise UsageError(
            "The second look at stills stands on weights that know pictures in general: give "
            "--init a safetensors file of ImageNet weights or timm, or --data a folder with them."
        )
    return build(config.model_copy(update={"architecture": network_of(config.architecture)}))


def _download(name: str) -> dict[str, Tensor]:
    """Return timm's pretrained weights of a model without its classifier."""
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of the hub, of the network, of timm: all mean the same here
        told = str(error).strip().splitlines()[0]
        raise UsageError(
            f"No pretrained weights of {name} from timm ({told}); give --init a safetensors file, "
            "a checkpoint, or none."
        ) from None
    found: dict[str, Tensor] = model.state_dict()
    return found


def _load_file(encoder: FrameEncoder, name: str, path: Path) -> None:
    """Load a safetensors file with the names of timm, or MobileNetV2 with those of torchvision."""
    try:
        weights = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a safetensors file: {error}.") from None
    if "features.0.0.weight" in weights and name.startswith("mobilenetv2"):
        load_imagenet(encoder, path)
        return
    wanted = encoder.backbone.state_dict()
    unlike = [k for k, v in wanted.items() if k not in weights or weights[k].shape != v.shape]
    if unlike:
        raise UsageError(
            f"{path} does not hold the weights of {name}: {len(unlike)} of {len(wanted)} tensors "
            f"are missing or of another shape, {unlike[0]} for one."
        )
    encoder.backbone.load_state_dict({key: weights[key] for key in wanted})
