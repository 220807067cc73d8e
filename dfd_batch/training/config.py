"""Settings of a training run, validated once at the edge."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dfd_batch.checkpoint import Architecture, Metric, Preprocessing
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Sampling, explain, merge
from dfd_batch.training.precision import Precision

OPEN_LICENCES = ("Unsplash", "Pixabay", "Pexels", "US Government", "CC BY", "CC0")
"""Licences of media that anyone may use for anything."""
_RESTRICTIONS = {
    "NC": re.compile(r"\bNC\b|non[\s-]?commercial", re.IGNORECASE),
    "ND": re.compile(r"\bND\b|no[\s-]?deriv", re.IGNORECASE),
}
Share = Annotated[float, Field(ge=0, le=1)]
MOTION_WIDTH = 64
"""Motion features per frame, unless the settings say otherwise."""
CLIP_FRAMES = Sampling().frames_per_clip
"""Of the clips that a temporal part learns from, as many as a scan looks at."""
StillOperation = Literal["reblended", "swap", "rendered", "polished", "redrawn", "h264"]
ClipOperation = Literal[
    "static", "drift", "jitter", "flicker", "hold", "lip_lag", "eyes_open", "pulse_kill", "reenact"
]
Operation = StillOperation | ClipOperation


def n_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


class TrainConfig(BaseModel):
    """What a training run reads, writes and does; equal settings and seed give equal weights.

    With `minutes` the learning rate follows the clock instead of the images seen: stage A ends on
    time on a shared machine, but is then repeatable only in its data, not bit for bit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path | None = None
    """Folder laid out as the README of the training data says; None: the pools that `work` has."""
    work: Path
    """Prepared faces, training state, logs and curves; holds media, so keep it to yourself."""
    out: Path
    """Where the best checkpoint so far is kept."""
    seed: int = 0
    images: Annotated[int, Field(ge=1)] = 150_000
    """Images that stage A sees (both twins of a pair count)."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    architecture: Architecture = Architecture(motion=MOTION_WIDTH)
    preprocessing: Preprocessing = Preprocessing()
    initial_weights: Literal["timm", "none"] | Path | None = None
    """A safetensors file of ImageNet weights, a checkpoint (directory, shipped name) to fine-tune,
    `timm` (its pretrained ones, downloaded) or `none` (random); when None
    `weights/mobilenet_v2_imagenet.safetensors` in `data`."""

    name: str = ""
    """Of the detector, for its card; the name of `out` when empty."""
    description: str = ""
    limitations: tuple[str, ...] = ()
    """What the card says beside what the run itself knows."""
    metrics: tuple[Metric, ...] = ()
    """Figures measured elsewhere (trials of the recipe) that the card shall hold."""
    provisional: bool = False
    command: str = ""
    """The command line of this run, for its card."""

    licences: tuple[str, ...] = ()
    """Only media whose licence holds one of these words are used; all when empty. One that forbids
    commercial use or derivatives is used only by a word that says so too: `CC BY-NC`."""

    without: tuple[Operation, ...] = ()
    """Forging operations and degradations to leave out, to see what each brings."""

    redraw_steps: Annotated[int, Field(ge=1)] = 900
    """Training steps of each autoencoder that redraws genuine faces (operation `redrawn`)."""

    mixture: Literal["genuine", "labelled", "both"] = "both"
    """`genuine`: pseudo-fakes of genuine faces alone, without any labelled fake; `labelled`: these
    alone, though a temporal part learns from forged clips beside them; `both`: as the shares below
    say, where there are labelled ones."""
    batch_pairs: Annotated[int, Field(ge=1)] = 20
    labelled_share: Share = 0.5
    """Pairs of a labelled fake and its own genuine source."""
    generated_share: Share = 0.08
    """Pairs of a wholly generated face and some genuine one; the rest are pseudo-fakes."""
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    warmup_images: Annotated[int, Field(ge=0)] = 2_000
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    pair_weight: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the loss that asks only for the right order inside a pair."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Memory of the averaged weights, which are the ones that are kept; 0 averages nothing."""
    start_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the weights that a training began from in those that are kept: what a fine-tuned network
    knew before is then not forgotten (WiSE-FT, Wortsman et al., CVPR 2022)."""
    optimizer: Literal["adamw", "sam"] = "adamw"
    """`sam`: AdamW on the gradient of the worst point near by, at twice the cost of a step."""
    sam_rho: Annotated[float, Field(gt=0)] = 0.05
    adversarial_share: Share = 0.0
    """Pairs of each batch that are attacked before they are learned from."""
    adversarial_eps: Annotated[float, Field(gt=0, le=255)] = 2.0
    """Largest change of a pixel by that attack, of 255."""
    look_images: Annotated[int, Field(ge=1)] = 4_000
    """Images between two looks at the development data."""
    save_minutes: Annotated[float, Field(gt=0)] = 3.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "auto"
    """`auto`: bf16 where GPU or CPU computes in it, else fp32."""
    compile: bool = False
    """Compile the encoder (worth its minutes in long runs on GPUs)."""
    threads: Annotated[int, Field(ge=1)] = Field(default_factory=n_cpus)
    """Of this process, for the network."""
    loaders: Annotated[int, Field(ge=0)] | None = None
    """Processes that make batches; None: a CPU in three, with a GPU all but one."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes (with GPUs: one on each) that share each step, on Ray when there are several."""

    clip_frames: Annotated[int, Field(ge=4)] = CLIP_FRAMES
    clips: Annotated[int, Field(ge=8)] = 2_400
    """Clips forged for the temporal head (stage B)."""
    motion_from: str = ""
    """A checkpoint whose motion encoder is taken over, as it depends on no frame encoder; empty:
    one is trained."""
    motion_start: str = ""
    """A checkpoint whose motion encoder the training of one begins from; empty: random weights."""
    motion_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate of the motion encoder."""
    motion_pairs: Annotated[int, Field(ge=2)] = 4_000
    """Pairs of clips forged for the motion encoder (stage B); its maps take 250 kB a pair."""
    motion_epochs: Annotated[int, Field(ge=1)] = 12
    temporal_epochs: Annotated[int, Field(ge=1)] = 12
    temporal_learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    synthesis_pairs: Annotated[int, Field(ge=2)] = 4_800
    """Pairs of a generated and a genuine face that the second look at stills is fitted to."""
    target_fpr: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Share of held-out genuine media allowed at or above `suspicious`."""

    @field_validator("architecture", mode="before")
    @classmethod
    def _with_motion(cls, given: Any) -> Any:
        # The card's default is a detector without: those made before motion do not say so.
        return {"motion": MOTION_WIDTH} | given if isinstance(given, dict) else given

    @property
    def media_mark(self) -> str:
        """Return what names of files in `work` end in that hold media of some licences only."""
        if not self.licences:
            return ""
        return "-" + hashlib.sha256("\n".join(sorted(self.licences)).encode()).hexdigest()[:8]

    def allows(self, licence: str) -> bool:
        """Return whether media of a licence may be used."""
        if not self.licences:
            return True
        restricted = restrictions(licence)
        return any(w in licence and restricted <= restrictions(w) for w in self.licences)


def restrictions(licence: str) -> set[str]:
    """Return what a licence forbids by its name: `NC` commercial use, `ND` derivatives."""
    return {name for name, words in _RESTRICTIONS.items() if words.search(licence)}


def load(flags: dict[str, Any], path: Path | None = None) -> TrainConfig:
    """Return the settings of flags over a TOML file over the defaults.

    Args:
        flags: Keys given on the command line, nested as the settings are.
        path: TOML file.

    Raises:
        UsageError: No such file, an unknown key, or a value that is not allowed.
    """
    given: dict[str, Any] = {}
    if path is not None:
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"No settings at {path}: {error.strerror}; give a file.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not valid TOML: {error}.") from None
    merged = merge(given, flags)
    for key in ("work", "out"):
        if key not in merged:
            raise UsageError(f"Say --{key} FOLDER, or {key} = … in the settings file.")
    try:
        return TrainConfig(**merged)
    except ValidationError as error:
        raise UsageError(explain(error)) from None
