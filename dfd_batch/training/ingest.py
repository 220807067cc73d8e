"""A pool of faces from labelled samples, by Ray; killed in between, it goes on.

Chunks of samples become shards, each written in one step under its number, and the shards one
pool, named only when it is whole. Two processes that prepare the same pool do no harm. Samples that
were lost in passing (a decoder hung, a store throttled) do not keep the pool from being made; each
later start tries them again and adds their faces.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os import getpid
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from dfd_batch.checkpoint import Preprocessing
from dfd_batch.outcomes import RETRYABLE, Outcome, UsageError
from dfd_batch.resources import IO_CPUS, leave_ray, start_ray
from dfd_batch.settings import Settings
from dfd_batch.training import pools
from dfd_batch.training.patches import Patches, PatchPlan, settle
from dfd_batch.training.pools import Face, Pool
from dfd_batch.training.prepare import SOURCES
from dfd_batch.training.sources import Sample

LARGEST_CHUNK = 16
"""Samples per shard: what a kill loses at most, per process. Few samples make smaller shards, so
that all processes have some."""
ACCOUNT = "prepared.json"
IN_PASSING = RETRYABLE - {Outcome.MISSING}
"""Outcomes that another start may change; what is gone from its place has left the samples, too."""

OnProgress = Callable[[int, int, Mapping[str, int]], None]
"""Told samples in all, samples done and their outcomes so far."""


@dataclass(frozen=True)
class Ingested:
    """A prepared pool."""

    directory: Path
    n_faces: int
    outcomes: dict[str, int]
    """Of all samples: `prepared`, `no_labelled_face`, or why they could not be read."""
    lost: tuple[int, ...] = ()
    """Places, in the samples given, of those that ended as `IN_PASSING` says: another start tries
    them again."""


def ingest(
    samples: Sequence[Sample],
    work: Path,
    name: str,
    preprocessing: Preprocessing,
    settings: Settings,
    *,
    landmarks: Path | None = None,
    address: str | None = None,
    on_progress: OnProgress | None = None,
) -> Ingested:
    """Prepare the faces of samples as the pool `work/pools/<name>`.

    Videos give the frames of their clips by `settings.sampling`, pictures one. All people of a
    genuine medium count, of a fake only the labelled ones or the largest.

    Args:
        samples: With splits (`splits.assign`).
        work: A folder that all of Ray's nodes reach.
        name: Of the pool.
        preprocessing: Its margin is that of the canonical crop; patches hold more.
        settings: Sampling, limits, faces, storage, pools.
        landmarks: Weights of the 68-point network (`Landmark68`).
        address: Ray cluster to join; None: `RAY_ADDRESS`, else a local Ray of this process.
        on_progress: Told after every chunk.

    Raises:
        UsageError: There are no samples, no faces in them, the name is taken by other samples,
            or the weights are not there.
    """
    _check(samples, name, landmarks)
    directory, digest = work / "pools" / name, _digest(samples, preprocessing, settings, landmarks)
    before = _known(directory, digest) if directory.exists() else None
    if before and not before.lost:
        return before
    tried = before.lost if before else tuple(range(len(samples)))
    # By their number: it falls from start to start, so that no shard is taken for an older one.
    again = f"-{len(tried)}" if before else ""
    shards = work / "shards" / f"{name}-{digest}{again}"
    shards.mkdir(parents=True, exist_ok=True)
    chunk = min(LARGEST_CHUNK, 1 + len(tried) // 64)
    n_chunks = math.ceil(len(tried) / chunk)
    missing = [i for i in range(n_chunks) if not _shard(shards, i).is_dir()]
    if missing:
        outcomes = Counter(o for i in set(range(n_chunks)) - {*missing} for o in _told(shards, i))
        own_ray = start_ray(address)
        try:
            held = ray.put(tuple(samples[i] for i in tried))
            plan = PatchPlan(settings, preprocessing.margin, landmarks, shards, chunk, held)
            for told in _made(plan, missing):
                outcomes.update(told)
                if on_progress:
                    on_progress(len(tried), outcomes.total(), outcomes)
        finally:
            if own_ray:
                leave_ray()
    return _join(shards, n_chunks, directory, digest, tried, before)


def _made(plan: PatchPlan, chunks: list[int]) -> Iterator[list[str]]:
    """Yield the outcomes of chunks as their shards are written."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus = max(1, int(resources.get("CPU", 1)) - IO_CPUS)
    n = min(plan.settings.pools.crop_actors or cpus, len(chunks))
    data = (
        ray.data.from_arrow(pa.table({"chunk": chunks}))
        .repartition(target_num_rows_per_block=1)
        .map_batches(
            Patches,
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=n),
            num_cpus=min(1.0, round(cpus / n, 3)),
            fn_constructor_args=(plan,),
        )
    )
    for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield batch["outcome"].to_pylist()  # type: ignore[union-attr]


def _join(
    shards: Path,
    n_chunks: int,
    directory: Path,
    digest: str,
    tried: Sequence[int],
    before: Ingested | None,
) -> Ingested:
    """Make one pool of all shards, behind what is there before, and remove them.

    Args:
        shards: Of the samples that were tried.
        n_chunks: Their number.
        directory: Of the pool.
        digest: Of all samples.
        tried: Places of the samples in the shards.
        before: The pool that is there, which lacks these samples; None: there is none.
    """
    told = [o for i in range(n_chunks) for o in _told(shards, i)]
    kept = before.outcomes if before else {}
    outcomes = Counter({o: n for o, n in kept.items() if o not in IN_PASSING}) + Counter(told)
    lost = [place for place, o in zip(tried, told, strict=True) if o in IN_PASSING]
    there = [pools.read(directory)] if before else []
    if before and _known(directory, digest) != before:  # another process has joined them
        return _known(directory, digest)
    if before and not any(len(pools.read(_shard(shards, i))) for i in range(n_chunks)):
        # The pool stays as it is, with what trainings have laid beside it.
        _tell(directory, digest, before.n_faces, outcomes, lost)
        shutil.rmtree(shards, ignore_errors=True)
        return _known(directory, digest)
    partial = directory.with_name(f".{directory.name}-{getpid()}")
    one_by_one = (pools.read(_shard(shards, i)) for i in range(n_chunks))
    margin = pools.read(_shard(shards, 0)).margin
    n_faces = pools.write(partial, _faces(chain(there, one_by_one)), margin)
    if not n_faces:
        shutil.rmtree(partial)
        shutil.rmtree(shards)  # or the next attempt would not look again
        counted = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
        raise UsageError(f"No face could be prepared of {outcomes.total()} samples: {counted}.")
    _tell(partial, digest, n_faces, outcomes, lost)
    if before:
        directory.rename(shards / f"before-{getpid()}")
    settle(partial, directory)
    shutil.rmtree(shards, ignore_errors=True)
    return _known(directory, digest)


def _tell(
    directory: Path, digest: str, n_faces: int, outcomes: Mapping[str, int], lost: Sequence[int]
) -> None:
    """Write the account of a pool in one step."""
    account = {"digest": digest, "n_faces": n_faces, "outcomes": outcomes, "lost": lost}
    partial = directory / f".{ACCOUNT}-{getpid()}"
    partial.write_text(json.dumps(account, indent=1) + "\n", encoding="utf-8")
    partial.replace(directory / ACCOUNT)


def _faces(parts: Iterable[Pool]) -> Iterator[Face]:
    for pool in parts:
        for k in range(len(pool)):
            yield Face(
                np.asarray(pool.patches[k]),
                pool.landmarks[k],
                float(pool.canonical_px[k]),
                pool.files[k],
                int(pool.labels[k]),
                pool.groups[k],
                pool.methods[k],
                pool.licences[k],
                int(pool.frames[k]),
                pool.splits[k],
                pool.pairs[k],
                pool.swapped[k],
            )


def _shard(shards: Path, number: int) -> Path:
    return shards / f"{number:07d}"


def _told(shards: Path, number: int) -> list[str]:
    return (_shard(shards, number) / "outcomes.txt").read_text(encoding="utf-8").split()


def _known(directory: Path, digest: str) -> Ingested:
    """Return the account of a pool that is there."""
    try:
        told = json.loads((directory / ACCOUNT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        told = {}
    if told.get("digest") != digest:
        raise UsageError(
            f"{directory} holds a pool of other samples or settings; give another --name, or "
            "remove that folder."
        )
    lost = tuple(told.get("lost", ()))  # those of earlier versions do not say
    return Ingested(directory, told["n_faces"], told["outcomes"], lost)


def _check(samples: Sequence[Sample], name: str, landmarks: Path | None) -> None:
    if not samples:
        raise UsageError(
            "There are no samples to prepare outside of the test split; see what was found."
        )
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"--name {name!r} is no folder name: use letters, digits, `_`, `-`, `.`.")
    if name in SOURCES:
        raise UsageError(f"--name {name!r} is taken by the layout `bundle`; give another name.")
    if landmarks is not None and not landmarks.is_file():
        raise UsageError(f"There are no landmark weights at {landmarks}; leave --landmarks out.")


def _digest(
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    settings: Settings,
    landmarks: Path | None,
) -> str:
    """Return the fingerprint of what a pool follows from."""
    told = hashlib.sha256()
    for sample in samples:
        told.update(repr(sample).encode())
    plans = (settings.sampling, settings.faces, settings.limits)
    told.update(repr([p.model_dump(mode="json") for p in plans]).encode())
    told.update(f"{preprocessing.margin} {landmarks is not None}".encode())
    return told.hexdigest()[:16]
