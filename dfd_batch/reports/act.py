"""From verdicts to actions: which objects, and whether that is safe. Nothing is touched here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from dfd_batch.checkpoint import Metric
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import actions
from dfd_batch.reports.actions import REMOVALS, STANDING, Action, Status
from dfd_batch.reports.detectors import Accounts, run_accounts
from dfd_batch.reports.files import THREADS
from dfd_batch.reports.policy import Delete, Policy
from dfd_batch.reports.views import chosen, query
from dfd_batch.settings import Storage
from dfd_batch.storage import is_s3
from dfd_batch.storage.acting import Refused, place_of

COLUMNS = (
    *("media_id", "uri", "etag", "size_bytes", "outcome", "verdict", "probability"),
    *("detector_id", "run_id", "scanned_at"),
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One object and what is to be done to it, in order."""

    row: Row
    todo: tuple[Action, ...]
    before: Mapping[Action, Status] = field(default_factory=dict)
    """How far each came the last time, where there was one."""


@dataclass(frozen=True)
class ActPlan:
    """What a policy asks for, after what is done already."""

    tasks: list[Task]
    n_scored: int
    n_done: int
    """Actions that are done already."""
    n_listed: int
    """Objects on the allow-list."""
    n_restored: int
    """Objects that a person brought back: never moved or deleted again for the same content."""
    false_alarms: list[Row] = field(default_factory=list)
    """Per detector whose objects would be deleted: rate, and number among all scored."""

    @property
    def counts(self) -> dict[str, int]:
        """Return how many objects each action is for."""
        return dict(Counter(action.value for task in self.tasks for action in task.todo))

    @property
    def n_removals(self) -> int:
        """Return how many removals may succeed; those refused before for good are none."""
        return sum(
            action in REMOVALS and task.before.get(action) not in STANDING
            for task in self.tasks
            for action in task.todo
        )


def plan(
    out: str,
    policy: Policy,
    storage: Storage,
    where: str | None = None,
    checkpoint: str | None = None,
) -> ActPlan:
    """Return what is to be done to the objects whose newest row is scored.

    Args:
        out: Where the scan wrote.
        policy: What is wanted.
        storage: How reports are reached.
        where: Narrows the rows, as SQL over `verdicts`.
        checkpoint: The detector, where that of the runs has moved.

    Raises:
        UsageError: A delete is not safe, the quarantine cannot hold these objects, or the reports
            cannot be read.
    """
    condition = "outcome = 'scored'" + (f" AND (\n{where}\n)" if where else "")
    rows: list[Row] = chosen(out, storage, condition, COLUMNS).to_pylist()
    acted = actions.read(out, storage)
    done, newest = actions.latest(acted), actions.newest(acted)
    restored = _restored(done)
    chosen_actions = [_wanted(row, policy, restored) for row in rows]
    brought_back = sum(len(wanted) < len(policy.actions(row)) for row, wanted in chosen_actions)
    returned = _returned(chosen_actions, done, storage)
    tasks, n_done = [], 0
    for row, wanted in chosen_actions:
        todo = tuple(wanted)
        if row["media_id"] not in returned:
            todo = _left(row, wanted, done)
        n_done += len(wanted) - len(todo)
        if todo:
            prior = {action: newest.get((row["media_id"], action.value)) for action in todo}
            before = {action: Status(told["status"]) for action, told in prior.items() if told}
            tasks.append(Task(row, todo, before))
    if policy.quarantine:
        _check_place(policy.quarantine.to, tasks)
    alarms = _gate(policy.delete, tasks, out, storage, checkpoint)
    n_listed = sum(policy.listed(row["uri"]) for row in rows)
    return ActPlan(tasks, len(rows), n_done, n_listed, brought_back, alarms)


def _wanted(row: Row, policy: Policy, restored: set[Any]) -> tuple[Row, list[Action]]:
    """Return a row and what the policy asks for; what a person brought back stays in its place."""
    wanted = policy.actions(row)
    if row["media_id"] in restored or (row["uri"], row["etag"]) in restored:
        wanted = [action for action in wanted if action not in REMOVALS]
    return row, wanted


def _left(
    row: Row, wanted: Sequence[Action], done: dict[tuple[str, str], Row]
) -> tuple[Action, ...]:
    """Return what is not done already."""
    todo = tuple(a for a in wanted if not _is_done(a, done.get((row["media_id"], a.value)), row))
    removals = REMOVALS.intersection(wanted)
    # what was removed has no tags to set
    return () if removals and not removals & set(todo) else todo


def _returned(
    wanted: Sequence[tuple[Row, Sequence[Action]]],
    done: dict[tuple[str, str], Row],
    storage: Storage,
) -> set[str]:
    """Return the media_ids whose content was removed, and lies at its place again.

    Only what was removed is looked for: the same bytes make no new row in the reports.
    """
    removed = [
        row
        for row, todo in wanted
        if any(_is_done(a, done.get((row["media_id"], a.value)), row) for a in REMOVALS & set(todo))
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        there = list(pool.map(lambda row: _is_there(row, storage), removed))
    return {row["media_id"] for row, again in zip(removed, there, strict=True) if again}


def _is_there(row: Row, storage: Storage) -> bool:
    try:
        head = place_of(row["uri"], storage).head(row["uri"])
    except (Refused, UsageError):
        return False  # as before: it was removed
    return head is not None and (head.etag, head.size_bytes) == (row["etag"], row["size_bytes"])


def _is_done(action: Action, prior: Row | None, row: Row) -> bool:
    if prior is None or prior["status"] != Status.DONE:
        return False
    if action in REMOVALS:
        return True
    return all(prior[name] == row[name] for name in ("detector_id", "verdict", "probability"))


def _restored(done: dict[tuple[str, str], Row]) -> set[Any]:
    """Return media_ids and (uri, etag) of what was brought back out of quarantine."""
    found: set[Any] = set()
    for (media_id, action), row in done.items():
        if action == Action.RESTORE and row["status"] == Status.DONE:
            found |= {media_id, (row["uri"], row["etag_after"])}
    return found


def _check_place(to: str, tasks: Sequence[Task]) -> None:
    for task in tasks:
        if Action.QUARANTINE in task.todo and is_s3(task.row["uri"]) != is_s3(to):
            raise UsageError(
                f"{task.row['uri']} cannot be quarantined in {to}: objects of a bucket go to a "
                "bucket, files to a folder. Narrow the objects with --where."
            )


def _gate(
    rule: Delete | None,
    tasks: Sequence[Task],
    out: str,
    storage: Storage,
    checkpoint: str | None,
) -> list[Row]:
    """Return the false alarms to expect of a delete, or refuse it."""
    doomed = {t.row["detector_id"] for t in tasks if Action.DELETE in t.todo}
    if rule is None or not doomed:
        return []
    accounts = run_accounts(out, storage, checkpoint)
    scored = _scored(out, storage)
    found = []
    for detector_id in sorted(doomed):
        rate = _rate(rule, detector_id, accounts)
        expected = rate.value * scored[detector_id]
        if rate.value > rule.max_false_alarm_rate:
            raise UsageError(
                f"Delete is refused: of genuine objects, {rate.value:.2%} are expected to be "
                f"deleted by detector {detector_id} (calibrated on {rate.n:,}); the policy allows "
                f"{rule.max_false_alarm_rate:.2%}. Raise delete.min_probability to a stricter "
                "band's threshold, or calibrate for a lower rate."
            )
        if rule.max_false_alarms is not None and expected > rule.max_false_alarms:
            raise UsageError(
                f"Delete is refused: up to {expected:.3g} of {scored[detector_id]:,} objects are "
                f"expected to be false alarms; the policy allows {rule.max_false_alarms:g}."
            )
        found.append(
            {
                "detector_id": detector_id,
                "rate": rate.value,
                "rate_high": rate.high,
                "n_genuine": rate.n,
                "n_scored": scored[detector_id],
                "expected": expected,
            }
        )
    return found


def _scored(out: str, storage: Storage) -> dict[str, int]:
    """Return how many objects each detector scored, however few of them are acted on."""
    sql = "SELECT detector_id, count(*) AS n FROM verdicts WHERE outcome = 'scored' GROUP BY ALL"
    return {row["detector_id"]: row["n"] for row in query(sql, out, storage).to_pylist()}


def _rate(rule: Delete, detector_id: str, accounts: Accounts) -> Metric:
    judge = accounts.judges.get(detector_id)
    if judge is None:
        raise UsageError(
            f"Delete is refused: the card of detector {detector_id}, which judged these objects, "
            "is not known; give --checkpoint the one that judged."
        )
    if not judge.calibrated:
        raise UsageError(
            f"Delete is refused: detector {detector_id} ({judge.card.name} {judge.card.version}) "
            "was not calibrated on your own genuine media with the settings of the scan, so its "
            "false alarms are unknown. Run `dfd calibrate` with these settings, then scan with "
            "the checkpoint that it writes."
        )
    bounds = judge.card.thresholds.model_dump()
    least = max(rule.min_probability, min(bounds[v.value] for v in rule.verdicts))
    rate = judge.false_alarms(least)
    if rate is None:
        raise UsageError(
            f"Delete is refused: the calibration of detector {detector_id} says nothing of false "
            f"alarms from probability {least:.4f} on; calibrate on more genuine media."
        )
    return rate
