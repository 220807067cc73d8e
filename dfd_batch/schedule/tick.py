"""One tick: scan, compact, act, report, tell; alone, and safe to repeat.

What is left to do follows from the reports, the table of actions, the days, and a record of which
run the page shows and the webhook has heard of. So a tick that is late, was killed or never came is
caught up with by whichever comes next.
"""

from __future__ import annotations

import json
import secrets
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from dfd_batch import __version__
from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.schedule import notify, seen, steps
from dfd_batch.schedule.lease import Lease, Lost
from dfd_batch.schedule.rules import Job, When
from dfd_batch.schedule.steps import Done

DONE, FAILED, UNTOLD = 0, 1, 3
"""Exit codes of a tick that had its turn."""
FORMAT = 1
Step = dict[str, Any]
OnStep = Callable[[Step], None]


@dataclass
class Tick:
    """One tick's account, which becomes its summary.

    Args:
        job: What it does.
        really: Whether the policy's actions are done.
        on_step: Told of each step that has ended.
        on_progress: Told how far the scan is.

    Raises:
        UsageError: The webhook's URL is none.
    """

    job: Job
    really: bool = False
    on_step: OnStep | None = None
    on_progress: steps.Progress | None = None
    steps: list[Step] = field(default_factory=list)
    news: bool = False

    def __post_init__(self) -> None:
        self._url = notify.webhook_url(self.job.rules.notify)
        self._began, self._began_s = datetime.now(UTC), time.monotonic()
        self._missed: list[str] = []
        self.tick_id = f"{self._began:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"

    def run(self) -> dict[str, Any]:
        """Do all steps and return the summary, which lies in OUT/ticks by then.

        Raises:
            Busy: Another tick is at work; nothing was done.
            UsageError: OUT cannot be reached for the lease.
        """
        rules, storage = self.job.rules, self.job.settings.storage
        with Lease(rules.out, self.tick_id, rules.lease, storage) as lease:
            previous = self._previous()
            self._seen = seen.load(rules.out, storage)
            self._do_all(lease)
            self._missed = self._not_told()
            summary = self._summary(previous, lease.is_strict)
            summary = self._kept(summary)
            told = True
            if self._url is not None and self._is_wanted(summary):
                told = self._tell(self._url, summary)
                summary = self._kept(summary | self._ending())
            if told:
                self._record(told=max([self._seen.told, self._own_run(), *self._missed]))
        return summary

    def _do_all(self, lease: Lease) -> None:
        job, rules = self.job, self.job.rules
        scanned = self._step("scan", lease, lambda: steps.scan(job, self.on_progress))
        todo: list[tuple[str, bool, Callable[[], Done]]] = [
            ("compact", rules.compact.enabled, lambda: steps.compact(job)),
            ("act", rules.act.enabled, lambda: steps.act(job, self.really)),
            ("report", rules.report.enabled, self._report),
        ]
        for name, enabled, do in todo:
            if not enabled:
                self._note(name, "skipped", "not wanted")
            elif scanned:
                self._step(name, lease, do)
            else:
                self._note(name, "skipped", "the scan failed")

    def _report(self) -> Done:
        newest = max(self._runs(), default="")
        done = steps.report(self.job, self.news or newest > self._seen.page)
        self._record(page=newest)
        return done

    def _runs(self) -> list[str]:
        return seen.runs_with_rows(self.job.rules.out, self.job.settings.storage)

    def _own_run(self) -> str:
        """Return the id of this tick's run, if its account is in the summary."""
        told = self.steps[0]["told"]
        return str(told["run_id"]) if told.get("n_reported") else ""

    def _not_told(self) -> list[str]:
        """Return the runs with rows, other than this tick's, that no message told of."""
        try:
            newer = [run for run in self._runs() if run > self._seen.told]
        except UsageError:
            return []  # the steps have said so
        return [run for run in newer if run != self._own_run()]

    def _record(self, **change: str) -> None:
        """Note what the page shows or the webhook heard of."""
        now = replace(self._seen, **change)
        try:
            if now != self._seen:
                seen.save(now, self.job.rules.out, self.job.settings.storage)
            self._seen = now
        except UsageError:
            pass  # the next tick does it once more, which does no harm

    def _step(self, name: str, lease: Lease, do: Callable[[], Done]) -> bool:
        """Do a step, note what came of it, and return whether it went well."""
        began_s = time.monotonic()
        try:
            lease.check()
            done = do()
        except (UsageError, Lost) as error:
            done = Done("", wrong=str(error))
        except Exception as error:
            traceback.print_exc()
            done = Done("", wrong=f"{type(error).__name__}: {str(error).split(chr(10))[0]}")
        self.news |= done.news
        status = "failed" if done.wrong else "done"
        said = "; ".join(part for part in (done.said, done.wrong) if part)
        self._note(name, status, said, time.monotonic() - began_s, done.told)
        return done.wrong is None

    def _note(
        self,
        name: str,
        status: str,
        said: str,
        elapsed_s: float = 0.0,
        told: dict[str, Any] | None = None,
    ) -> None:
        step = {"name": name, "status": status, "said": said, "elapsed_s": round(elapsed_s, 3)}
        self.steps.append(step | {"told": told or {}})
        if self.on_step:
            self.on_step(self.steps[-1])

    def _ending(self) -> dict[str, Any]:
        failed = [step["name"] for step in self.steps if step["status"] == "failed"]
        code = UNTOLD if failed == ["notify"] else FAILED if failed else DONE
        state = f"{' and '.join(failed)} failed" if failed else "all done"
        scanned = self.steps[0]
        text = f"dfd tick, {self.job.rules.source}: {state}; {scanned['said']}"
        if n_flagged := scanned["told"].get("n_flagged"):
            text += f"; {n_flagged:,} suspicious or worse"
        if self._missed:
            text += f"; earlier runs that were not told of: {len(self._missed):,}"
        elapsed_s = round(time.monotonic() - self._began_s, 3)
        ended = {"elapsed_s": elapsed_s, "exit_code": code, "failed": failed, "text": text}
        return ended | {"steps": self.steps}

    def _summary(self, previous: dict[str, Any] | None, is_strict: bool) -> dict[str, Any]:
        rules = self.job.rules
        return {
            "format": FORMAT,
            "tick_id": self.tick_id,
            "package_version": __version__,
            "source": rules.source,
            "out": rules.out,
            "began": self._began.isoformat(),
            "previous": previous,
            "exclusion": "strict" if is_strict else "best effort",
            "news": self.news,
            "missed_runs": self._missed,
            **self._ending(),
        }

    def _previous(self) -> dict[str, Any] | None:
        """Return what the last tick that had its turn says of itself."""
        try:
            told = json.loads(stores.read_bytes(self._uri("latest"), self.job.settings.storage))
            return {name: told[name] for name in ("tick_id", "began", "exit_code")}
        except (UsageError, ValueError, KeyError, TypeError):
            return None

    def _kept(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write the summary; where that fails, the tick has failed."""
        blob = (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode()
        try:
            for name in (self.tick_id, "latest"):
                stores.write_bytes(self._uri(name), blob, self.job.settings.storage)
        except UsageError as error:
            if not any(step["name"] == "summary" for step in self.steps):
                self._note("summary", "failed", str(error))
            return summary | self._ending()
        return summary

    def _uri(self, name: str) -> str:
        return stores.join(self.job.rules.out, "ticks", f"{name}.json")

    def _is_wanted(self, summary: dict[str, Any]) -> bool:
        when = self.job.rules.notify.when
        failed = bool(summary["exit_code"])
        return (
            when == When.ALWAYS
            or failed
            or (when == When.NEWS and (self.news or bool(self._missed)))
        )

    def _tell(self, url: str, summary: dict[str, Any]) -> bool:
        """Send the summary, with as many names of objects as are wanted; return whether it came."""
        rules, began_s = self.job.rules.notify, time.monotonic()
        document = json.loads(json.dumps(summary))
        flagged = document["steps"][0]["told"].get("flagged", [])
        del flagged[rules.objects :]
        try:
            notify.post(url, document, rules)
            self._note("notify", "done", "the webhook was told", time.monotonic() - began_s)
            return True
        except notify.Untold as error:
            self._note("notify", "failed", str(error), time.monotonic() - began_s)
            return False
