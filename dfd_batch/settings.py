"""Everything a user may set, validated once at the edge.

Precedence: command-line flag, environment (`DFD_SAMPLING__COVERAGE=quick`), one TOML file
(`dfd.toml` in the working directory, or `--config`), then the defaults below.
"""

from __future__ import annotations

import os
import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dfd_batch.outcomes import UsageError

Bytes = Annotated[int, Field(ge=0)]
_USER_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Select(_Section):
    """Which of the listed objects are scanned."""

    include: tuple[str, ...] = ()
    """Globs on the path below the scanned prefix; empty means all."""
    exclude: tuple[str, ...] = ()
    """Globs of what is left out, of the included as well."""
    min_size_bytes: Bytes = 0
    max_size_bytes: Bytes | None = None
    newer_than_days: Annotated[float, Field(gt=0)] | None = None
    """Only what was changed within so many days."""
    older_than_days: Annotated[float, Field(gt=0)] | None = None
    """Only what was not changed for so many days."""
    since_margin_hours: Annotated[float, Field(ge=0)] = 24.0
    """`--since-last` goes back so far before the last complete run: for uploads, which S3 dates by
    their begin, that took long, for late listings, and for clocks that differ."""


class Storage(_Section):
    """How object storage is reached; credentials always come from the usual AWS chain."""

    endpoint_url: str | None = None
    """Of an S3-compatible store; else `AWS_ENDPOINT_URL`, else AWS."""
    profile: str | None = None
    """Section of the AWS configuration files."""
    anonymous: bool = False
    """Requests are not signed: public buckets need no credentials."""
    max_retries: Annotated[int, Field(ge=1, le=50)] = 10
    """Of one request that is throttled or fails on the way; then the object is `throttled`."""
    read_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Without a byte from the store for so long a request is given up and tried again."""
    parts_from_bytes: Bytes = 8 * 2**20
    """Of larger objects only the parts that are looked at are read; smaller ones come whole."""

    @field_validator("endpoint_url")
    @classmethod
    def _without_credentials(cls, url: str | None) -> str | None:
        if url and _USER_IN_URL.search(url):
            raise ValueError("credentials come from the AWS chain; the settings are written down")
        return url


class Coverage(StrEnum):
    """How much of a video is looked at."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"


class Sampling(_Section):
    """Clips of consecutive frames placed at key frames spread over a video."""

    coverage: Coverage = Coverage.STANDARD
    """`quick` and `standard`: so many clips as below; `full`: clips without a gap."""
    frames_per_clip: Annotated[int, Field(ge=1, le=64)] = 24
    quick_clips: Annotated[int, Field(ge=1)] = 2
    standard_clips: Annotated[int, Field(ge=1)] = 3
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    """Every `stride`-th frame is used; 1 keeps frames consecutive, as the LSTM was trained."""


class Bounds(_Section):
    """Limits that change how an object is judged, not only whether it is."""

    decode_long_side: Annotated[int, Field(ge=64)] = 1920
    """Larger frames are reduced to this long side as they leave the decoder."""
    max_full_clips: Annotated[int, Field(ge=1)] = 85
    """Clips of one video under `full` coverage: 82 s at 25 fps without a gap; in longer videos
    these clips are spread evenly. More of them want more `faces.max_crops` as well."""


UNCOUNTED = Bounds(max_full_clips=128)
"""The defaults of when no bound was part of a fingerprint."""


class Limits(Bounds):
    """What one object may cost before it is given up.

    What was refused as `too_large` is done: with a higher limit, scan it into another OUT.
    """

    max_object_bytes: Bytes = 20 * 2**30
    """Larger objects are `too_large` and not read."""
    max_pixels: Annotated[int, Field(ge=1)] = 100_000_000
    """Pixels of one image or frame; above it the object is `too_large`."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    timeout_per_clip_s: Annotated[float, Field(ge=0)] = 5.0
    """The deadline of an object is `timeout_s` + clips x `timeout_per_clip_s`."""
    decoder_memory_mb: Annotated[int, Field(ge=256)] = 1536
    """Address space of a decoder; an object that wants more is `too_large`."""
    decoder_recycle_after: Annotated[int, Field(ge=1)] = 200
    """Objects after which a decoder is replaced, so that slow leaks come to nothing."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Runs that try an object with a retryable outcome (`timeout`, `missing` …)."""


class Faces(_Section):
    """How faces are found and which are good enough to judge."""

    detect_long_side: Annotated[int, Field(ge=160)] = 640
    """Long side in pixels of the frame in which faces are looked for."""
    min_detect_px: Annotated[int, Field(ge=12)] = 30
    """Smallest face MTCNN looks for, in pixels of the reduced frame."""
    detector_confidence: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Below this MTCNN's finding is no face."""
    max_faces_per_frame: Annotated[int, Field(ge=1)] = 8
    """The largest ones are kept."""
    max_crops: Annotated[int, Field(ge=1)] = 2048
    """Crops kept of one object (the largest faces' first): bounds memory, 225 MB at 192 px."""
    min_face_px: Annotated[int, Field(ge=1)] = 36
    """Smaller faces, in displayed pixels (box height), are `face_too_small`."""
    min_brightness: Annotated[float, Field(ge=0, le=255)] = 18.0
    """Mean luma of a crop below this is `too_dark`."""
    min_sharpness: Annotated[float, Field(ge=0)] = 2.5
    """Variance of the Laplacian of the crop's luma below this is `too_blurry`."""


class Features(_Section):
    """How the networks look at a crop."""

    views: Annotated[int, Field(ge=1, le=32)] = 1
    """Random looks at each crop whose answers are averaged; with 8, attacks on the exact crop lose
    more than half of their hold (those that reckon with views hardly), at `views` times the
    networks' cost. Calibrate for it: `dfd calibrate`."""


class Pools(_Section):
    """Actors per stage; None sizes a pool from the resources that Ray reports."""

    crop_actors: Annotated[int, Field(ge=1)] | None = None
    """Processes that read, decode and find faces."""
    embed_actors: Annotated[int, Field(ge=1)] | None = None
    """Processes that run the networks; with GPUs one for each."""
    embed_batch_objects: Annotated[int, Field(ge=1)] | None = None
    """Objects that go through the networks together; None: 4 on a GPU, on a CPU as they come."""
    embed_micro_batch_frames: Annotated[int, Field(ge=1)] | None = None
    """Crops in one forward pass: bounds the memory of the device. None: 256 on a GPU, else 64."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: GPUs where Ray reports some."""
    rows_per_file: Annotated[int, Field(ge=1)] | None = None
    """Verdicts per Parquet file; None: about a hundred files per run, 4 to 512 rows each."""


class Watch(_Section):
    """What a running scan shows of itself."""

    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the driver's loopback interface at which Prometheus may scrape the run's numbers."""


class Settings(_Section):
    """All settings of a scan."""

    checkpoint: str = "default"
    """Name of a shipped detector, or a directory with card.json and model.safetensors."""
    select: Select = Select()
    storage: Storage = Storage()
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    faces: Faces = Faces()
    features: Features = Features()
    pools: Pools = Pools()
    watch: Watch = Watch()

    @property
    def judging(self) -> tuple[BaseModel, ...]:
        """Return the sections that change verdicts: part of a detector's fingerprint."""
        given = self.limits.model_dump(include=set(Bounds.model_fields))
        if self.sampling.coverage is not Coverage.FULL:
            given["max_full_clips"] = UNCOUNTED.max_full_clips  # bounds nothing
        bounds, sections = Bounds(**given), (self.sampling, self.faces, self.features)
        # what were the defaults before they counted is left out: no archive is scanned again
        return sections if bounds == UNCOUNTED else (*sections, bounds)


def load(flags: dict[str, Any] | None = None, config: Path | None = None) -> Settings:
    """Return the settings of flags over environment over the TOML file over defaults.

    Args:
        flags: Nested keys given on the command line, e.g. `{"sampling": {"coverage": "quick"}}`;
            None values count as not given.
        config: TOML file; `dfd.toml` in the working directory when None and present.

    Raises:
        UsageError: A key is unknown or a value is not allowed; names key, value and rule.
    """
    path = config or Path("dfd.toml")
    given: dict[str, Any] = {}
    if config is not None and not path.is_file():
        raise UsageError(f"No settings file at {path}; give --config an existing TOML file.")
    if path.is_file():
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not valid TOML: {error}.") from None
    return validated(given, flags)


def validated(given: dict[str, Any], flags: dict[str, Any] | None = None) -> Settings:
    """Return the settings of flags over environment over what a file holds.

    Raises:
        UsageError: A key is unknown or a value is not allowed; names key, value and rule.
    """
    merged = merge(merge(given, _environment()), _drop_none(flags or {}))
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise UsageError(explain(error)) from None


def _environment() -> dict[str, Any]:
    """Return what DFD_ variables set, nested as the settings are."""
    found: dict[str, Any] = {}
    for name, value in os.environ.items():
        if not name.startswith("DFD_"):
            continue
        *parents, leaf = name[4:].lower().split("__")
        if (parents or [leaf])[0] not in Settings.model_fields:
            known = ", ".join(f"DFD_{key.upper()}" for key in Settings.model_fields)
            raise UsageError(f"{name} is not a setting; those begin with {known}.")
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
        is_list = parents == ["select"] and leaf in {"include", "exclude"}
        node[leaf] = [part for part in value.split(",") if part] if is_list else value
    return found


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings, those of `over` where both have them."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        result[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return result


def _drop_none(flags: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _drop_none(value) if isinstance(value, dict) else value
        for key, value in flags.items()
        if value is not None
    }


def explain(error: ValidationError) -> str:
    """Return one sentence per wrong key: its name, the value given, and what is allowed."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{key} = {item['input']!r}: there is no such setting.")
        else:
            given = _USER_IN_URL.sub("…", repr(item["input"]))
            lines.append(f"{key} = {given} is not allowed: {item['msg']}.")
    return "\n".join(lines)
