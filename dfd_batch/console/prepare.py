"""`dfd prepare`: a data set or a folder to a pool of faces that training reads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dfd_batch.console.progress import watching
from dfd_batch.console.scan import say
from dfd_batch.console.text import counts, printable
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Coverage, Settings
from dfd_batch.storage import is_s3
from dfd_batch.training.sources.sample import Found, Sample

BUNDLE = "bundle"
BUNDLE_MARKS = ("faces.csv", "clips.csv", "labelled")
OF_BUNDLES = frozenset(("source", "work", "layout", "name", "config", "checkpoint"))
"""Parameters that a bundle follows; its lists say all else."""
FOR_SCANS = "not prepared, `dfd evaluate … --split test` scans them"
FOR_FACES = "a pool apart for `dfd evaluate --faces`, no training opens it"
"""What becomes of a test split: of media, and of face crops."""


def sampled(settings: Settings, clips: int, frames: int) -> Settings:
    """Return settings that take so many clips of so many frames of each video."""
    given = {"coverage": Coverage.QUICK, "quick_clips": clips, "frames_per_clip": frames}
    sampling = settings.sampling.model_copy(update=given)
    return settings.model_copy(update={"sampling": sampling})


def run(
    source: str,
    layout: str | None,
    work: Path,
    name: str | None,
    limit: int | None,
    landmarks: Path | None,
    licence: str,
    settings: Settings,
    address: str | None,
    given: Set[str] = frozenset(),
) -> None:
    """Prepare a pool and print what was expected, found and made of it.

    Args:
        source: Root of a data set, a folder of media or a bundle.
        layout: Of the source; guessed when None.
        work: Receives the pool.
        name: Of the pool; that of the layout when None.
        limit: Most samples.
        landmarks: Weights of the 68-point network.
        licence: Of the media.
        settings: Sampling, limits, faces, storage, pools, checkpoint.
        address: Ray cluster.
        given: Parameters by name that the user gave, to refuse those that a bundle does not follow.

    Raises:
        UsageError: The source cannot be prepared so.
    """
    from dfd_batch.checkpoint import load_card

    console = Console()
    preprocessing = load_card(settings.checkpoint).preprocessing
    if layout == BUNDLE or (layout is None and _is_bundle(source)):
        _refuse(source, given - OF_BUNDLES)
        _bundle(Path(source), work, name, preprocessing.margin, console)
        return
    samples, tests, chosen = _samples(source, layout, licence, limit, settings, console)
    from dfd_batch import pipeline
    from dfd_batch.training.ingest import ingest

    def made_of(samples: Sequence[Sample], pool: str) -> None:
        began = time.monotonic()
        with watching(console) as listener:

            def told(n_total: int, n_done: int, outcomes: Mapping[str, int]) -> None:
                elapsed_s = time.monotonic() - began
                listener(pipeline.Progress(n_total, n_done, dict(outcomes), {}, elapsed_s))

            made = ingest(
                samples,
                work,
                pool,
                preprocessing,
                settings,
                landmarks=landmarks,
                address=address,
                on_progress=told,
            )
        say(console, f"samples   {counts(made.outcomes)}")
        if made.lost:
            again = "in passing; run the same command again to try them again"
            say(console, f"lost      {len(made.lost):,} samples {again}")
        say(console, f"pool      {printable(str(made.directory))}: {made.n_faces:,} faces")

    if samples or not tests:  # of nothing at all the ingestion says so
        made_of(samples, name or chosen)
    if tests:
        made_of(tests, f"{name or chosen}_test")


def _samples(
    source: str,
    layout: str | None,
    licence: str,
    limit: int | None,
    settings: Settings,
    console: Console,
) -> tuple[list[Sample], list[Sample], str]:
    """Return the samples to prepare, those for a pool apart, and a name; prints the account.

    The test split stays out of the pools of training, so that no choice of a run can see it. Where
    it holds face crops, which cannot be scanned, it gets a pool of its own.
    """
    from dataclasses import replace

    from dfd_batch.training import sources, splits
    from dfd_batch.training.prepare import SOURCES

    chosen = layout or sources.detect(source, settings.storage)
    contents = sources.read(source, chosen, settings.storage)
    console.print(found_table(contents.found, f"{chosen} in {printable(source)}"))
    for word, note in contents.notes:
        say(console, f"{word:9} {note}")
    samples, n_left_out = splits.assign(contents.samples)
    if licence:
        samples = [replace(sample, licence=licence) for sample in samples]
    tests = [sample for sample in samples if sample.split == "test" and sample.cropped]
    for split in ("train", "val", "test"):
        labels = [sample.label for sample in samples if sample.split == split]
        n_fake = sum(labels)
        kept = ""
        if split == "test" and labels:
            kept = f"; {FOR_FACES if tests else FOR_SCANS}"
        say(console, f"{split:9} {len(labels) - n_fake:,} genuine, {n_fake:,} manipulated{kept}")
    if n_left_out:
        why = "that link groups of two splits or share a source with the test split"
        say(console, f"left out  {n_left_out:,} {why}")
    samples, tests = (
        splits.some(part, limit)
        for part in ([sample for sample in samples if sample.split != "test"], tests)
    )
    return samples, tests, f"{chosen}-media" if chosen in SOURCES else chosen


def found_table(found: tuple[Found, ...], title: str) -> Table:
    """Return the table of what a data set should hold and what is there."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("what", overflow="fold")
    for column in ("expected", "found", "missing"):
        table.add_column(column, justify="right")
    table.add_column("notes", overflow="fold")
    for line in found:
        expected = "" if line.expected is None else f"{line.expected:,}"
        missing = f"{line.missing:,}" if line.missing else ""
        table.add_row(
            printable(line.what), expected, f"{line.found:,}", missing, printable(line.notes)
        )
    return table


def _is_bundle(source: str) -> bool:
    return not is_s3(source) and all((Path(source) / mark).exists() for mark in BUNDLE_MARKS)


def _refuse(source: str, given: Set[str]) -> None:
    if given:
        flags = ", ".join(sorted("--" + name.replace("_", "-") for name in given))
        raise UsageError(
            f"{source} is a bundle, whose own lists say what is prepared: leave out {flags}, or "
            "give --as another layout."
        )


def _bundle(data: Path, work: Path, name: str | None, margin: float, console: Console) -> None:
    from dfd_batch.training.prepare import SOURCES, prepare

    if not _is_bundle(str(data)):
        raise UsageError(f"{data} holds no bundle: there is no {' or '.join(BUNDLE_MARKS)}.")
    if name is not None and name not in SOURCES:
        raise UsageError(f"--name {name!r} is no pool of a bundle; those are {', '.join(SOURCES)}.")
    for pool, n_faces in prepare(data, work, margin, (name,) if name else ()).items():
        say(console, f"{pool:12} {n_faces:,} faces")
