"""What a running scan tells those who operate it: its stages, each in its process, and its driver.

Nothing here may end a scan.
"""

from __future__ import annotations

import json
import logging
import socket
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from dfd_batch import failures, metrics
from dfd_batch import storage as stores
from dfd_batch.failures import Failures, told_in_full
from dfd_batch.meters import RayMeters, Tally
from dfd_batch.metrics import Meters
from dfd_batch.outcomes import UsageError
from dfd_batch.runs import FAILURES_FILE, METRICS_FILE, Run, RunResult, Work
from dfd_batch.settings import Settings

log = logging.getLogger("dfd_batch")
WRITTEN = ("media_id", "verdict", *failures.COLUMNS, *metrics.WORK)
"""Of written rows, the columns that the driver counts and tells."""
MAX_CAUSES = 10
STEPS = metrics.STEP_SECONDS.values


def here() -> str:
    """Return the name of this node."""
    return socket.gethostname()


class StageWatch:
    """What one stage tells: its work as metrics, its failures in the log of its Ray actor.

    Called outside of an actor, a stage keeps what is no news to its caller to itself.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._meters = RayMeters()
        self._in_actor = (
            ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None
        )
        self._failures = Failures(run_id, log.warning if self._in_actor else log.debug)

    def worked(self, rows: pa.Table, columns: Iterable[str]) -> None:
        """Count what rows took, by these columns of `metrics.WORK`."""
        metrics.count_work(self._meters, rows, columns)

    def failed(self, row: Mapping[str, Any]) -> None:
        """Tell of an object that failed in this stage."""
        self._failures.note(row)

    def crashed(self, row: Mapping[str, Any]) -> None:
        """Tell of the exception in hand, which nobody foresaw and which failed an object."""
        told = traceback.format_exc()
        self._failures.note(row, traceback=told)
        if not self._in_actor:
            log.error("%s", json.dumps(told_in_full(self._run_id, row, traceback=told)))


class RunWatch:
    """What the driver tells of its run, by the rows that are safely written.

    Args:
        run: What names it.
        settings: Of the run.
        n_planned: Objects that it is to judge.
    """

    def __init__(self, run: Run, settings: Settings, n_planned: int) -> None:
        self._run = run
        self._settings = settings
        self._n_planned = n_planned
        self._failures = Failures(run.run_id)
        self._tally = Tally()
        self._ray = RayMeters()
        # the stages tell Ray of their work themselves
        self._everywhere: tuple[Meters, ...] = (self._tally, self._ray)

    def served(self) -> AbstractContextManager[None]:
        """Serve the numbers at the settings' port, if they name one, as long as this is open."""
        return self._tally.served(self._settings.watch.metrics_port)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Tell of a run that is at work as long as this is open: Ray is there before and after."""
        with self._ray.reminding():
            for meters in self._everywhere:
                meters.set(metrics.PLANNED, self._n_planned)
                meters.set(metrics.LEFT, self._n_planned)
            yield

    def wrote(self, rows: pa.Table, n_left: int, eta_s: float) -> None:
        """Tell of rows that are now written.

        Args:
            rows: With the columns of `WRITTEN`.
            n_left: Objects of the run that have no row yet.
            eta_s: Seconds to its end, as far as can be told.
        """
        for name, metric in (("outcome", metrics.OBJECTS), ("verdict", metrics.VERDICTS)):
            for pair in pc.value_counts(rows.column(name).drop_null()).to_pylist():
                for meters in self._everywhere:
                    meters.inc(metric, pair["counts"], pair["values"])
        for meters in self._everywhere:
            meters.set(metrics.LEFT, n_left)
            meters.set(metrics.ETA, eta_s)
        metrics.count_work(self._tally, rows, metrics.WORK)
        for row in rows.select(failures.COLUMNS).to_pylist():
            self._failures.note(row)

    def work(self) -> Work:
        """Return what the run took so far."""
        value = self._tally.value
        return Work(
            step_s={s: round(value(metrics.STEP_SECONDS, s), 3) for s in STEPS},
            media_s=round(value(metrics.MEDIA_SECONDS), 3),
            bytes_read=round(value(metrics.READ_BYTES)),
            n_frames_decoded=round(value(metrics.FRAMES, "decoded")),
            n_frames_scored=round(value(metrics.FRAMES, "scored")),
            failures=tuple(self._failures.causes(MAX_CAUSES)),
        )

    def ended(self, result: RunResult) -> None:
        """Leave the final numbers and the failures in the run's folder."""
        self._tally.set(metrics.FINISHED, time.time())
        self._tally.set(metrics.COMPLETE, result.reconciled and result.stopped is None)
        left = {METRICS_FILE: self._tally.text(), FAILURES_FILE: self._failures.document().encode()}
        for name, told in left.items():
            try:
                if told:
                    stores.write_bytes(
                        stores.join(self._run.uri, name), told, self._settings.storage
                    )
            except UsageError as error:
                log.warning("%s", error)
