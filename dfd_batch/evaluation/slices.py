"""Parts of a test set that are measured by themselves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd_batch.evaluation.metrics import Floats
from dfd_batch.evaluation.verdicts import Verdicts

Mask = NDArray[np.bool_]

FACE_PX = (64, 128, 256)
VIDEO_BITS = (0.05, 0.1, 0.2)
"""Per pixel and frame: H.264 at about CRF 28 lies below .05, archives' masters above .2."""
IMAGE_BITS = (1.0, 2.0, 4.0)
"""Per pixel: JPEG below about quality 75, 90 and 95."""
DURATION_S = (5, 20, 60)
MOST_VALUES = 20
"""An attribute with more values is a name and no slice."""


@dataclass(frozen=True)
class Slice:
    """Which scored objects belong to a part."""

    by: str
    name: str
    rows: Mask  # (N,)


def slices(verdicts: Verdicts) -> list[Slice]:
    """Return the whole first, then every part that holds an object; a single part is left out."""
    found = [Slice("all", "all", np.ones(len(verdicts), bool))]
    for part in (
        _media(verdicts),
        _methods(verdicts),
        _between("face height", "px", verdicts.face_px(), FACE_PX),
        _compression(verdicts),
        _between("duration", "s", verdicts.numbers("duration_s"), DURATION_S),
        *_attributes(verdicts),
    ):
        some = [s for s in part if s.rows.any()]
        if len(some) > 1 or (some and some[0].by == "manipulation"):
            found += some
    return found


def _media(verdicts: Verdicts) -> Iterator[Slice]:
    yield Slice("medium", "image", ~verdicts.is_video)
    yield Slice("medium", "video", verdicts.is_video)


def _methods(verdicts: Verdicts) -> Iterator[Slice]:
    """Yield the fakes of each method beside all genuine media of the same kind."""
    methods = np.array([s.method or "unnamed" for s in verdicts.samples])
    for method in np.unique(methods[verdicts.labels]):
        fakes = verdicts.labels & (methods == method)
        kinds = np.unique(verdicts.is_video[fakes])
        peers = ~verdicts.labels & np.isin(verdicts.is_video, kinds)
        yield Slice("manipulation", str(method), fakes | peers)


def _compression(verdicts: Verdicts) -> Iterator[Slice]:
    bits = verdicts.bits_per_pixel()
    for kind, of_kind, edges in (
        ("image", ~verdicts.is_video, IMAGE_BITS),
        ("video", verdicts.is_video, VIDEO_BITS),
    ):
        own = np.where(of_kind, bits, np.nan)
        yield from _between("compression", f"bit/px, {kind}", own, edges)


def _attributes(verdicts: Verdicts) -> Iterator[Iterator[Slice]]:
    names = sorted({name for s in verdicts.samples for name in s.attributes})
    for name in names:
        values = np.array([s.attributes.get(name, "") for s in verdicts.samples])
        known = [str(v) for v in np.unique(values) if v]
        if 1 < len(known) <= MOST_VALUES:
            yield (Slice(name, value, values == value) for value in known)


def _between(by: str, unit: str, values: Floats, edges: tuple[float, ...]) -> Iterator[Slice]:
    bounds = (-np.inf, *edges, np.inf)
    for low, high in itertools.pairwise(bounds):
        with np.errstate(invalid="ignore"):
            rows = (values >= low) & (values < high)
        if low == -np.inf:
            name = f"< {high:g} {unit}"
        elif high == np.inf:
            name = f"≥ {low:g} {unit}"
        else:
            name = f"{low:g} – {high:g} {unit}"
        yield Slice(by, name, rows)
