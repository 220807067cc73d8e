"""The steps of a tick. Each may be done again at any time: what is done already is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfd_batch import pipeline
from dfd_batch import since as incremental
from dfd_batch import storage as stores
from dfd_batch.catalog.listing import is_list
from dfd_batch.console.text import counts
from dfd_batch.reports import act as acting
from dfd_batch.reports import compact as compaction
from dfd_batch.reports import read
from dfd_batch.reports.actions import Status
from dfd_batch.reports.apply import apply, summary
from dfd_batch.reports.write import reports_uri
from dfd_batch.runs import RunResult
from dfd_batch.schedule.rules import Job
from dfd_batch.site.build import Wanted, build

MOST_FLAGGED = 100
FLAGGED = ("manipulated", "suspicious")
Progress = Callable[[pipeline.Progress], None]


@dataclass(frozen=True)
class Done:
    """What a step came to.

    Args:
        said: For a person, in a few words.
        told: For machines.
        wrong: Why it counts as failed, in one sentence.
        news: Whether anything is different from before.
    """

    said: str
    told: dict[str, Any] = field(default_factory=dict)
    wrong: str | None = None
    news: bool = False


def scan(job: Job, on_progress: Progress | None = None) -> Done:
    """Judge what has no verdict yet."""
    rules, settings = job.rules, job.settings
    since = _since(job)
    result = pipeline.scan(
        rules.source,
        rules.out,
        settings,
        address=rules.scan.address,
        limit=rules.scan.limit,
        since=since,
        on_progress=on_progress,
    )
    flagged = _flagged(job, result)
    told = {
        **{k: v for k, v in asdict(result).items() if k not in {"run_uri", "reports_uri", "work"}},
        "reconciled": result.reconciled,
        "compared": "all" if since is None else f"since {since.cutoff.isoformat()}",
        "n_flagged": flagged.num_rows,
        "flagged": flagged.slice(0, MOST_FLAGGED).to_pylist(),
    }
    wrong = result.stopped
    if wrong is None and not result.reconciled:
        wrong = f"{result.n_manifest:,} objects have {result.n_reported:,} rows"
    said = f"{result.n_reported:,} objects judged"
    if result.n_reported:
        said += f": {counts(result.outcomes)}; {counts(result.verdicts)}"
    if held_back := result.plan.get("n_held_back", 0):
        said += f"; {held_back:,} left for the next tick"
    return Done(said, told, wrong, news=result.n_reported > 0)


def _since(job: Job) -> incremental.Since | None:
    """Return what narrows the listing, unless it is time to compare everything."""
    every = timedelta(hours=job.rules.scan.full_every_hours)
    goes_by_time = not is_list(job.rules.source) and job.settings.select.older_than_days is None
    if not every or not goes_by_time:
        return None
    since = incremental.last_complete(job.rules.source, job.rules.out, job.settings)
    return since if since and datetime.now(UTC) - since.full_at < every else None


def _flagged(job: Job, result: RunResult) -> pa.Table:
    """Return uri, verdict and probability of the run's suspicious objects, the worst first."""
    columns = ["uri", "verdict", "probability"]
    if not set(FLAGGED) & result.verdicts.keys():
        return pa.table({name: [] for name in columns})
    reports, storage = reports_uri(job.rules.out), job.settings.storage
    rows = read.run_rows(reports, storage, result.run_id, columns)
    rows = rows.filter(pc.is_in(rows["verdict"], value_set=pa.array(FLAGGED)))
    return rows.sort_by([("probability", "descending"), ("uri", "ascending")])


def compact(job: Job) -> Done:
    """Rewrite the days that are over, of the last ones, into few files."""
    out, storage = job.rules.out, job.settings.storage
    first = datetime.now(UTC).date() - timedelta(days=job.rules.compact.days)
    days = [day for day in compaction.days(out, storage) if day >= first]
    told = [compaction.compact(out, day, storage) for day in days]
    n_now = sum(day.state == "compacted" for day in told)
    return Done(f"{n_now} of {len(told)} days", {"days": [asdict(day) for day in told]})


def act(job: Job, really: bool) -> Done:
    """Do, where `really`, what the policy asks for; else say it."""
    rules, storage = job.rules.act, job.settings.storage
    plan = acting.plan(job.rules.out, job.policy, storage, rules.where)
    n_removals = plan.n_removals
    told: dict[str, Any] = {
        "applied": False,
        "policy": job.policy.digest,
        "planned": plan.counts,
        "n_done_before": plan.n_done,
        "false_alarms": plan.false_alarms,
    }
    if n_removals > rules.max_removals:
        wrong = (
            f"{n_removals:,} objects are to be quarantined or deleted, more than "
            f"act.max_removals = {rules.max_removals:,} in one tick; none was touched. Look at "
            "them (`dfd act` without --apply), then apply or change the policy."
        )
        return Done(f"planned {counts(plan.counts)}", told, wrong, news=True)
    if not really:
        return Done(f"planned {counts(plan.counts)}; not applied", told)
    rows = apply(plan, job.policy, job.rules.out, storage)
    told |= {"applied": True, "results": summary(rows)}
    bad = [row for row in rows if row["status"] in {Status.FAILED, Status.DENIED}]
    failed = f"{len(bad):,} actions failed, e.g. {bad[0]['detail']}" if bad else None
    done = {kind: states["done"] for kind, states in summary(rows).items() if "done" in states}
    return Done(counts(done), told, failed, news=bool(done))


def report(job: Job, is_needed: bool) -> Done:
    """Write the site anew where there are new verdicts or there is none yet."""
    rules, storage = job.rules.report, job.settings.storage
    index = stores.join(job.page, "index.html")
    if not stores.exists(reports_uri(job.rules.out), storage):
        return Done("no verdicts yet")
    if not is_needed and stores.exists(index, storage):
        return Done("as before", {"index_uri": index})
    wanted = Wanted(job.rules.out, job.page, None, None, rules.pictures, rules.least, rules.limit)
    site = build(wanted, job.settings)
    return Done(f"{site.n_flagged:,} of {site.n_rows:,} flagged: {site.index_uri}", asdict(site))
