"""Frame encoder: a face crop in, a feature vector and the crop's own logit out.

Any timm backbone by name, pooled over its last feature map, so that D is small (512 for VGG, not
4096) and the map stays at hand for heat maps. One linear layer gives one logit (sigmoid) or one
per class (softmax).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd_batch.checkpoint import Architecture, Checkpoint, Preprocessing
from dfd_batch.features.memory import in_halves
from dfd_batch.features.synthesis import PART, network_of
from dfd_batch.features.views import Seeds, object_seeds, view
from dfd_batch.inference import CpuNetwork
from dfd_batch.outcomes import UsageError

Part = Literal["encoder", "synthesis"]


class FrameEncoder(nn.Module):
    """A timm backbone with global average pooling and a linear head.

    Raises:
        UsageError: timm knows no such model.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        import timm

        if not timm.is_model(architecture.encoder):
            raise UsageError(
                f"timm has no model {architecture.encoder!r}; try mobilenetv2_100, resnet50, "
                "legacy_xception, efficientnet_b4 or another of timm.list_models()."
            )
        backbone: Any = timm.create_model(architecture.encoder, pretrained=False, num_classes=0)
        if hasattr(backbone, "pre_logits"):
            backbone.pre_logits = nn.Identity()  # VGG: 100 M parameters that we do not use
        self.backbone = backbone
        self.feature_dim: int = backbone.num_features
        self.dropout = nn.Dropout(dropout)
        self.architecture = architecture
        n_logits = 1 if architecture.output == "sigmoid" else len(architecture.classes)
        self.head = nn.Linear(self.feature_dim, n_logits)

    def feature_map(self, x: Tensor) -> Tensor:
        """Return the last feature map (N, D, h, w) of normalised crops (N, 3, S, S)."""
        backbone: Any = self.backbone
        features: Tensor = backbone.forward_features(x)
        if features.ndim != 4 or features.shape[1] != self.feature_dim:
            raise UsageError(
                f"{self.architecture.encoder} gives no feature map (N, {self.feature_dim}, h, w) "
                f"but {tuple(features.shape)}: name a CNN, such as mobilenetv2_100 or resnet50."
            )
        return features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, D) and logits (N, n_logits) of normalised crops (N, 3, S, S)."""
        pooled = self.feature_map(x).mean(dim=(2, 3))
        return pooled, self.head(self.dropout(pooled))


def manipulated_logit(logits: Tensor, architecture: Architecture) -> Tensor:
    """Return the log-odds of manipulation (N,) from the head's logits (N, n_logits)."""
    if architecture.output == "sigmoid":
        return logits[:, 0]
    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]


def normalise(crops: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return float crops (N, 3, S, S), channels_last, of uint8 crops (N, S, S, 3) RGB."""
    mean = torch.tensor(preprocessing.mean, device=crops.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=crops.device).view(1, 3, 1, 1) * 255
    return (crops.permute(0, 3, 1, 2).float() - mean) / std


def network(checkpoint: Checkpoint, part: Part = "encoder") -> FrameEncoder:
    """Return one of a checkpoint's networks of single crops, ready to answer.

    Args:
        checkpoint: The detector.
        part: Its frame encoder, or the second network that stills have.

    Raises:
        UsageError: The weights do not fit the card's architecture.
    """
    architecture = checkpoint.card.architecture
    made = FrameEncoder(network_of(architecture) if part == PART else architecture)
    load_part(made, checkpoint, part)
    return made.eval()


class Embedder:
    """Runs one of a checkpoint's networks of single crops over many, micro-batched.

    On a GPU: float16, channels_last (bfloat16 is no faster and its rounding moves probabilities
    by .02 in the mean, float16's by .0006). On a CPU: compiled, float32 (see `inference`).

    Args:
        checkpoint: The detector.
        device: "cpu" or "cuda".
        micro_batch_frames: Crops per forward pass.
        views: Random looks at each crop (see `features.views`), whose answers are averaged.
        part: Which of its networks; `synthesis` is the second one for stills.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        micro_batch_frames: int = 64,
        views: int = 1,
        part: Part = "encoder",
    ) -> None:
        self._card = checkpoint.card
        self._device = torch.device(device)
        self._micro_batch = micro_batch_frames
        self._views = views
        self._level = 1 / (255 * torch.tensor(self._card.preprocessing.std))
        self._narrow = self._device.type != "cpu"
        encoder = network(checkpoint, part)
        self._architecture = encoder.architecture
        self._encoder: Callable[[Tensor], tuple[Tensor, ...]]
        size = self._card.preprocessing.crop_size
        self._onto_device: Callable[[NDArray[np.uint8]], Tensor] = torch.tensor  # a copy: Arrow's
        # buffers are read-only
        if self._device.type == "cuda":
            self._onto_device = Uploads((micro_batch_frames, size, size, 3), self._device)
        if self._device.type != "cpu":
            self._encoder = encoder.to(self._device).to(memory_format=torch.channels_last)
        elif views > 1:  # they are made of normalised crops
            self._encoder = CpuNetwork(encoder, torch.zeros(1, 3, size, size))
        else:  # normalising is part of what is compiled
            whole = _FromPixels(encoder, self._card.preprocessing)
            self._encoder = CpuNetwork(whole, torch.zeros(1, size, size, 3, dtype=torch.uint8))
        self.feature_dim = encoder.feature_dim

    @torch.inference_mode()
    def __call__(
        self, crops: NDArray[np.uint8], counts: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Return features float16 (K, D) and log-odds of manipulation (K,) of crops (K, S, S, 3).

        Crops of another size than the checkpoint's are a bug upstream and raise ValueError.

        Args:
            crops: Of one or several objects, one after the other.
            counts: Crops of each object, which share their views; None: all are one object's.
        """
        size = self._card.preprocessing.crop_size
        if len(crops) and crops.shape[1:] != (size, size, 3):
            raise ValueError(f"crops are {crops.shape[1:]}, the checkpoint wants {(size, size, 3)}")
        seeds = object_seeds(crops, [len(crops)] if counts is None else counts, self._views)
        found = []  # stays on the device: reading each part would let it wait for the next
        start = 0
        for batch in self._uploaded(crops):
            own = seeds[start : start + len(batch)]
            found.append(self._forward_in_halves(batch, own, self._narrow))
            start += len(batch)
        if not found:
            return np.empty((0, self.feature_dim), np.float16), np.empty(0, np.float32)
        features, logits = (torch.cat(column).cpu().numpy() for column in zip(*found, strict=True))
        spilt = np.flatnonzero(~np.isfinite(logits)) if self._narrow else np.empty(0, np.intp)
        for start in range(0, len(spilt), self._micro_batch):  # float16 ends at 65,504
            rows = spilt[start : start + self._micro_batch]
            batch = self._onto_device(crops[rows])
            again = self._forward_in_halves(batch, seeds[rows], False)
            features[rows], logits[rows] = (column.cpu().numpy() for column in again)
        return features, logits

    def _uploaded(self, crops: NDArray[np.uint8]) -> Iterator[Tensor]:
        """Yield the micro-batches on the device; a thread copies the next one meanwhile."""
        starts = range(0, len(crops), self._micro_batch)
        parts = (crops[start : start + self._micro_batch] for start in starts)
        if self._device.type == "cpu":
            yield from map(self._onto_device, parts)
            return
        with ThreadPoolExecutor(1) as copier:
            coming: Future[Tensor] | None = None
            for part in parts:
                ready, coming = coming, copier.submit(self._onto_device, part)
                if ready is not None:
                    yield ready.result()
            if coming is not None:
                yield coming.result()

    def _forward_in_halves(self, batch: Tensor, seeds: Seeds, narrow: bool) -> tuple[Tensor, ...]:
        def forward(rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
            some = slice(int(rows[0]), int(rows[-1]) + 1)
            return self._forward(batch[some], seeds[some], narrow)

        return in_halves(forward, np.arange(len(batch)))

    def _forward(self, batch: Tensor, seeds: Seeds, narrow: bool) -> tuple[Tensor, Tensor]:
        if self._device.type == "cpu" and self._views == 1:
            vectors, logits = self._encoder(batch)
            odds = manipulated_logit(logits, self._architecture)
        else:
            vectors, odds = self._over_views(batch, seeds, narrow)
        widest = torch.finfo(torch.float16).max
        return vectors.clamp(-widest, widest).half(), odds

    def _over_views(self, batch: Tensor, seeds: Seeds, narrow: bool) -> tuple[Tensor, Tensor]:
        """Return features (N, D) and log-odds (N,) of crops (N, S, S, 3), means over the views."""
        x = normalise(batch, self._card.preprocessing)
        vectors = torch.zeros(len(batch), self.feature_dim, device=self._device)
        odds = torch.zeros(len(batch), device=self._device)
        for index in range(self._views):
            looked = view(x, seeds, index, self._level) if self._views > 1 else x
            with torch.autocast(self._device.type, torch.float16, enabled=narrow):
                features, logits = self._encoder(looked)
            vectors += features.float() / self._views
            odds += manipulated_logit(logits.float(), self._architecture) / self._views
        return vectors, odds


class Uploads:
    """Batches of uint8 on their way to a GPU, which works on one while the next is copied.

    Args:
        most: Shape of the largest batch.
        device: A GPU.
    """

    def __init__(self, most: tuple[int, ...], device: torch.device) -> None:
        self._device = device
        # Two, page-locked once: locking pages for each batch takes longer than copying it.
        self._buffers = [torch.empty(most, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._sent: list[Any] = [torch.cuda.Event() for _ in self._buffers]  # type: ignore[no-untyped-call]
        self._turn = 0

    def __call__(self, batch: NDArray[np.uint8]) -> Tensor:
        """Return a batch (N, …), N <= most, on the device; the copy may still be under way."""
        self._turn = 1 - self._turn
        self._sent[self._turn].synchronize()  # what the buffer held before has arrived
        buffer = self._buffers[self._turn][: len(batch)]
        buffer.numpy()[:] = batch
        there = buffer.to(self._device, non_blocking=True)
        self._sent[self._turn].record()
        return there


class _FromPixels(nn.Module):
    """A frame encoder that takes crops as they are: (N, S, S, 3) uint8."""

    def __init__(self, encoder: FrameEncoder, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._encoder = encoder
        self._preprocessing = preprocessing

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self._encoder(normalise(crops, self._preprocessing))
        return features, logits


def load_part(module: nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
    """Load one part of a checkpoint into a module.

    Raises:
        UsageError: The weights do not fit the card's architecture.
    """
    state = {name: torch.from_numpy(array) for name, array in checkpoint.part(prefix).items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(
            f"The {prefix} weights of detector {checkpoint.card.name!r} do not fit its card: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from None


def load_imagenet(encoder: FrameEncoder, path: Path) -> None:
    """Load torchvision-named MobileNetV2 ImageNet weights into a `mobilenetv2_100` encoder.

    Both libraries order the layers alike, so names are matched by position. The file's BatchNorm
    was made for eps 1e-3; adding the difference to the variances gives the same function with the
    default 1e-5.
    """
    import torchvision

    order = [
        name
        for name in torchvision.models.mobilenet_v2().state_dict()
        if name.startswith("features.")
    ]
    given = safetensors.torch.load_file(path)
    target = encoder.backbone.state_dict()
    if len(order) != len(target):
        raise UsageError(f"{path} holds MobileNetV2 weights; the encoder is another network.")
    state = {}
    for name, ours in zip(order, target, strict=True):
        tensor = given[name]
        if tensor.shape != target[ours].shape:
            raise UsageError(f"{path}: {name} is {tuple(tensor.shape)}, expected {ours}'s shape.")
        state[ours] = tensor + (1e-3 - 1e-5) if name.endswith("running_var") else tensor
    encoder.backbone.load_state_dict(state)
