"""Makes the site: chooses rows, looks at the flagged objects again, writes the pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from dfd_batch import __version__
from dfd_batch import storage as stores
from dfd_batch.console.text import printable
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Settings
from dfd_batch.site import charts, images, render, words
from dfd_batch.site.detectors import Detectors, JudgedBy
from dfd_batch.site.evidence import Evidence, Looker
from dfd_batch.site.overview import Flagged, overview
from dfd_batch.site.selection import evidence_rows, select

Row = dict[str, Any]
OBJECTS = "objects"


class Pictures(StrEnum):
    """How faces are shown."""

    CLEAR = "clear"
    BLURRED = "blurred"
    NONE = "none"


FOOTER = {
    Pictures.CLEAR: "It holds pictures of people: keep it as private as the archive itself.",
    Pictures.BLURRED: "Its pictures are blurred for privacy; the detail is not in the page.",
    Pictures.NONE: "It was made without pictures.",
}


@dataclass(frozen=True)
class Wanted:
    """What the user asks for.

    Args:
        out: Where the scans wrote.
        site: Folder or s3:// prefix of the pages.
        run_id: Only rows of this run, or of the one whose id begins so.
        where: Only rows for which this SQL condition holds.
        pictures: How faces are shown.
        least: Objects of this verdict or a worse one get a page.
        limit: At most so many pages, the most suspicious.
    """

    out: str
    site: str
    run_id: str | None = None
    where: str | None = None
    pictures: Pictures = Pictures.CLEAR
    least: str = "suspicious"
    limit: int = 200


@dataclass(frozen=True)
class Site:
    """What was written; `not_shown` names the objects without pictures and why."""

    index_uri: str
    n_rows: int
    n_flagged: int
    n_pages: int
    not_shown: dict[str, str]
    left_over: int
    """Pages of an earlier site at the same place, which this one does not lead to."""


def build(
    wanted: Wanted, settings: Settings, on_object: Callable[[int, int], None] | None = None
) -> Site:
    """Write a site of static pages.

    Args:
        wanted: What it tells of, and where it goes.
        settings: How storage is reached; a checkpoint for rows whose own has moved.
        on_object: Told how many of how many objects have their page.

    Raises:
        UsageError: There is nothing to tell of, or storage cannot be read or written.
    """
    storage = settings.storage
    chosen = select(wanted.out, storage, wanted.run_id, wanted.where)
    if not chosen.rows.num_rows:
        raise UsageError(
            f"No row to report in {wanted.out}: {chosen.told}. `dfd summary --out {wanted.out}` "
            "says what was scanned."
        )
    flagged = chosen.flagged(wanted.least)
    rows = evidence_rows(wanted.out, storage, flagged.slice(0, wanted.limit))
    detectors = Detectors(wanted.out, settings)
    made = _made(wanted)
    looking = _Looking(detectors, wanted.pictures)
    names = _page_names(rows)
    done: list[Flagged] = []
    not_shown: dict[str, str] = {}
    for i, row in enumerate(rows):
        judged, evidence = detectors.of(row), looking(row)
        if evidence.note and not evidence.faces:
            not_shown[row["uri"]] = evidence.note
        beside = [names[k] if 0 <= k < len(names) else None for k in (i - 1, i + 1)]
        page = _object_page(row, judged, evidence, beside, wanted, made)
        stores.write_bytes(stores.join(wanted.site, OBJECTS, f"{names[i]}.html"), page, storage)
        done.append(_flagged(names[i], row, evidence, wanted.pictures))
        if on_object:
            on_object(i + 1, len(rows))
    notes = []
    if len(rows) < flagged.num_rows:
        notes.append(
            f"{flagged.num_rows:,} objects are {wanted.least} or worse; the {len(rows):,} most "
            "suspicious have a page of their own (--limit)."
        )
    n_flagged = chosen.flagged("suspicious").num_rows
    index = stores.join(wanted.site, "index.html")
    page = overview(chosen, done, n_flagged, detectors, made, notes)
    stores.write_bytes(index, page, storage)
    there = set(stores.list_names(stores.join(wanted.site, OBJECTS), storage))
    left_over = len(there - {f"{name}.html" for name in names})
    return Site(index, chosen.rows.num_rows, n_flagged, len(done), not_shown, left_over)


class _Looking:
    """Looks at objects again, each with the detector that judged it; one is loaded at a time."""

    def __init__(self, detectors: Detectors, pictures: Pictures) -> None:
        self._detectors = detectors
        self._pictures = pictures
        self._looker: Looker | None = None
        self._of: JudgedBy | None = None

    def __call__(self, row: Row) -> Evidence:
        if self._pictures is Pictures.NONE:
            return Evidence([], [])
        judged = self._detectors.of(row)
        if judged.settings is None or judged.checkpoint is None:
            return Evidence([], [], f"No pictures: {judged.missing}")
        if self._looker is None or self._of is not judged:
            veiled = self._pictures is Pictures.BLURRED
            self._looker = Looker(judged.settings, judged.checkpoint, veiled)
            self._of = judged
        return self._looker(row)


def _object_page(
    row: Row,
    judged: JudgedBy,
    evidence: Evidence,
    beside: list[str | None],
    wanted: Wanted,
    made: Row,
) -> bytes:
    card = judged.card
    bounds = card.thresholds if card else row["threshold"]
    uri = printable(row["uri"])
    return render.page(
        "object",
        row=row,
        name=uri.rstrip("/").rpartition("/")[2] or uri,
        uri=uri,
        sentence=words.sentence(row),
        notes=[evidence.note] if evidence.note else [],
        timeline=charts.timeline(
            row["timeline"] or [], row["segments"] or [], bounds, row["duration_s"]
        ),
        evidence=evidence,
        veiled="Blurred: " if wanted.pictures is Pictures.BLURRED else "",
        over_time=card is not None and card.architecture.temporal != "none",
        heat_scale=images.data_uri(images.heat_scale()),
        before=beside[0],
        after=beside[1],
        prior=words.prior(row["probability"]),
        facts=words.facts(row),
        command=shlex.join(["dfd", "show", row["media_id"][:12], "--out", wanted.out]),
        detector=words.detector(judged),
        made=made,
    )


def _flagged(name: str, row: Row, evidence: Evidence, pictures: Pictures) -> Flagged:
    worst = max(evidence.moments, key=lambda m: m.probability or 0.0, default=None)
    of = "Blurred: f" if pictures is Pictures.BLURRED else "F"
    return Flagged(name, row, worst.crop if worst else None, f"{of}ace of the worst frame")


def _page_names(rows: list[Row]) -> list[str]:
    """Return a file name for each row: its media_id, which is hexadecimal, or else its number."""
    names: list[str] = []
    for i, row in enumerate(rows):
        safe = re.fullmatch(r"[0-9a-f]{6,64}", row["media_id"]) is not None
        name = row["media_id"] if safe and row["media_id"] not in names else f"row-{i}"
        names.append(name)
    return names


def _made(wanted: Wanted) -> Row:
    return {
        "version": __version__,
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "out": printable(wanted.out),
        "pictures": FOOTER[wanted.pictures],
    }
