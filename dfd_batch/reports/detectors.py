"""What the runs say of themselves, and what the detectors that judged them are good for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from dfd_batch import checkpoint as checkpoints
from dfd_batch import storage as stores
from dfd_batch.checkpoint import Metric, ModelCard, OperatingPoint
from dfd_batch.outcomes import UsageError, Verdict
from dfd_batch.reports.files import THREADS
from dfd_batch.schema import TIMESTAMP
from dfd_batch.settings import Sampling, Settings, Storage

FIGURE = "false alarm rate"
"""Of a card's metrics, what `dfd calibrate` calls a band's rate: `false alarm rate, suspicious`."""

RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("source", pa.string()),
        ("started_at", pa.timestamp("us")),
        ("finished", pa.bool_()),
        ("reconciled", pa.bool_()),
        ("stopped", pa.string()),
        ("n_manifest", pa.int64()),
        ("n_reported", pa.int64()),
        ("elapsed_s", pa.float64()),
        ("detector_id", pa.string()),
        ("detector", pa.string()),
        ("checkpoint", pa.string()),
        ("coverage", pa.string()),
        ("package_version", pa.string()),
    ]
)
BANDS = pa.schema(
    [
        ("detector_id", pa.string()),
        ("detector", pa.string()),
        ("band", pa.string()),
        ("threshold", pa.float64()),
        ("calibrated", pa.bool_()),  # on the user's own genuine media
        ("fpr", pa.float64()),  # expected share of genuine objects at or above the threshold
        ("fpr_low", pa.float64()),
        ("fpr_high", pa.float64()),
        ("n_genuine", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Judge:
    """A detector that judged: its card and how its runs looked at media."""

    card: ModelCard
    settings: Settings

    @property
    def calibrated(self) -> bool:
        """Whether its bands were set on genuine media of the kind, looked at the same way."""
        point = self.card.operating_point
        return point is not None and _looks(point) == checkpoints.looks_id(*self.settings.judging)

    def false_alarms(self, threshold: float) -> Metric | None:
        """Return the false alarm rate that bounds what lies at or above a probability.

        It is that of the highest band that begins at or below the threshold; None: not known.
        """
        if not self.calibrated:
            return None
        below = [band for band, bound in self._bounds() if bound <= threshold]
        known = {m.name: m for m in self.card.metrics}
        rates = [known[f"{FIGURE}, {b}"] for b in below if f"{FIGURE}, {b}" in known]
        return min(rates, key=lambda rate: rate.value, default=None)

    def rows(self, detector_id: str) -> Iterator[dict[str, Any]]:
        """Yield one row of `BANDS` per band."""
        for band, threshold in self._bounds():
            rates = {m.name: m for m in self.card.metrics} if self.calibrated else {}
            rate = rates.get(f"{FIGURE}, {band}")
            yield {
                "detector_id": detector_id,
                "detector": f"{self.card.name} {self.card.version}",
                "band": band,
                "threshold": threshold,
                "calibrated": self.calibrated,
                "fpr": rate and rate.value,
                "fpr_low": rate and rate.low,
                "fpr_high": rate and rate.high,
                "n_genuine": rate and rate.n,
            }

    def _bounds(self) -> list[tuple[str, float]]:
        bounds = self.card.thresholds.model_dump()
        return [(verdict.value, bounds[verdict.value]) for verdict in list(Verdict)[1:]]


def _looks(point: OperatingPoint) -> str | None:
    """Return the fingerprint of the settings that a calibration was made with, if it is known."""
    if point.looks:
        return point.looks
    try:  # older cards tell the coverage alone: nothing else is taken to have been changed
        sampling = Sampling.model_validate({"coverage": point.coverage})
    except ValidationError:
        return None
    return checkpoints.looks_id(*Settings(sampling=sampling).judging)


@dataclass(frozen=True)
class Accounts:
    """The runs of an output folder, and those of their detectors whose card is known."""

    runs: pa.Table  # of RUNS
    judges: dict[str, Judge]  # by detector_id

    @property
    def bands(self) -> pa.Table:
        """Return the bands of all known detectors, of `BANDS`."""
        rows = [row for name, judge in self.judges.items() for row in judge.rows(name)]
        return pa.Table.from_pylist(rows, schema=BANDS)


def run_accounts(out: str, storage: Storage, checkpoint: str | None = None) -> Accounts:
    """Return what `OUT/runs` holds.

    Args:
        out: Where the scans wrote.
        storage: How to reach it.
        checkpoint: A detector to try as well, for runs whose own has moved.

    Raises:
        UsageError: The folder cannot be read.
    """
    names = stores.list_names(stores.join(out, "runs"), storage)

    def read(run_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        return _account(stores.join(out, "runs", run_id), storage)

    with ThreadPoolExecutor(THREADS) as pool:
        told = list(zip(names, pool.map(read, names), strict=True))
    rows, judges = [], {}
    for run_id, (began, ended) in told:
        rows.append(_row(run_id, began, ended))
        detector_id = began.get("detector_id")
        if detector_id is not None and detector_id not in judges:
            found = _judge(began, detector_id, checkpoint)
            if found is not None:
                judges[detector_id] = found
    return Accounts(pa.Table.from_pylist(rows, schema=RUNS), judges)


def _account(folder: str, storage: Storage) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a run's run.json and summary.json, empty where one is missing."""
    names = stores.list_names(folder, storage)
    parts: list[dict[str, Any]] = []
    for name in ("run.json", "summary.json"):
        uri = stores.join(folder, name)
        try:
            parts.append(json.loads(stores.read_bytes(uri, storage)) if name in names else {})
        except ValueError:
            raise UsageError(f"{uri} is not valid JSON; move it away.") from None
    return parts[0], parts[1]


def _row(run_id: str, began: dict[str, Any], ended: dict[str, Any]) -> dict[str, Any]:
    detector, settings = began.get("detector") or {}, began.get("settings") or {}
    started = began.get("started_at")
    at = None if started is None else datetime.fromisoformat(started)
    return {
        **{name: began.get(name) for name in ("source", "detector_id", "package_version")},
        **{n: ended.get(n) for n in ("reconciled", "stopped", "n_manifest", "n_reported")},
        "run_id": run_id,
        "started_at": at and pa.scalar(at, TIMESTAMP).cast(pa.timestamp("us")).as_py(),
        "finished": bool(ended),
        "elapsed_s": ended.get("elapsed_s"),
        "detector": f"{detector['name']} {detector['version']}" if detector else None,
        "checkpoint": settings.get("checkpoint"),
        "coverage": (settings.get("sampling") or {}).get("coverage"),
    }


def _judge(began: dict[str, Any], detector_id: str, checkpoint: str | None) -> Judge | None:
    """Return the detector of a run, if a card is found that makes the same fingerprint."""
    try:
        settings = Settings.model_validate(began["settings"])
    except (KeyError, ValidationError):
        return None
    for card in _cards(began, settings, checkpoint):
        if checkpoints.detector_id(card, *settings.judging) == detector_id:
            return Judge(card, settings)
    return None


def _cards(
    began: dict[str, Any], settings: Settings, checkpoint: str | None
) -> Iterator[ModelCard]:
    """Yield the cards that may be the run's: its own copy, then those of the checkpoints."""
    with suppress(KeyError, ValidationError):  # runs of older packages keep none
        yield ModelCard.model_validate(began["card"])
    for name in (settings.checkpoint, checkpoint):
        if name is not None:
            try:
                yield checkpoints.load_card(name)
            except UsageError:
                continue
