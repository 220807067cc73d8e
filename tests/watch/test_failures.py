"""Failures are told line by line: safely, bounded, and none uncounted."""

import json
from collections import Counter

import pytest

from dfd_batch.failures import EACH, MOST_KINDS, Failures
from dfd_batch.outcomes import Outcome

HOSTILE = [
    "/in/a\nb.mp4",
    '/in/{"event": "failure"}\r\n.mp4',
    "/in/\x1b[2J\x07.mp4",
    "/in/\u202egpj.exe",
    "/in/\u2028\u2029\x85.mp4",
    "/in/" + "ü" * 50,
]


def row(uri="/in/a.mp4", outcome="timeout", kind="deadline", **more):
    return {
        "uri": uri,
        "outcome": outcome,
        "error_kind": kind,
        "error_message": f"{uri}: it took too long.",
        "attempt": 2,
        "node": "worker-7",
    } | more


def test_a_failure_is_one_line_of_json_with_all_that_is_known_of_it():
    lines = []
    Failures("run-1", lines.append).note(row())
    (told,) = (json.loads(line) for line in lines)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "event": "failure",
        "run_id": "run-1",
        "uri": "/in/a.mp4",
        "outcome": "timeout",
        "error_kind": "deadline",
        "message": "/in/a.mp4: it took too long.",
        "attempt": 2,
        "node": "worker-7",
    }


@pytest.mark.parametrize("uri", HOSTILE)
def test_no_name_breaks_a_line_or_steers_a_terminal(uri):
    lines = []
    failures = Failures("run-1", lines.append)
    failures.note(row(uri), traceback=f"Traceback:\n  ValueError: {uri}\n")
    for line in (*lines, *failures.document().splitlines()):
        assert line.isascii() and line.isprintable()
    assert json.loads(lines[0])["uri"] == uri
    assert json.loads(failures.document().splitlines()[0])["traceback"].count("\n") >= 2


def test_objects_that_could_be_looked_at_are_no_failures():
    failures = Failures("run-1")
    for outcome in ("scored", "no_face", "face_too_small", "too_dark", "too_blurry", None):
        failures.note(row(outcome=outcome))
    assert failures.document() == "" and failures.causes(10) == []
    for outcome in set(Outcome):
        failures.note(row(outcome=outcome.value))
    assert {c["outcome"] for c in failures.causes(99)} == {o.value for o in Outcome if o.failed}


def test_a_hundred_thousand_failures_of_one_kind_neither_flood_nor_hide_the_rare_one():
    lines = []
    failures = Failures("run-1", lines.append)
    for i in range(100_000):
        failures.note(row(f"/in/{i}.mp4"))
    failures.note(row("/in/rare.mp4", "access_denied", "AccessDenied"))
    told = [json.loads(line) for line in lines]
    assert Counter(t["event"] for t in told) == {"failure": EACH + 1, "failures": 4}
    assert [t["n_objects"] for t in told if t["event"] == "failures"] == [100, 1000, 10**4, 10**5]
    assert told[-1]["uri"] == "/in/rare.mp4"
    document = [json.loads(line) for line in failures.document().splitlines()]
    assert len(document) == EACH + 1 + 2
    assert {d["outcome"]: d["n_objects"] for d in document if d["event"] == "failures"} == {
        "timeout": 100_000,
        "access_denied": 1,
    }
    first, second = failures.causes(10)
    assert (first["n_objects"], first["example"]) == (100_000, "/in/0.mp4")
    assert (second["n_objects"], second["message"]) == (1, "/in/rare.mp4: it took too long.")


def test_kinds_without_end_are_counted_together():
    failures = Failures("run-1")
    for i in range(10 * MOST_KINDS):
        failures.note(row(kind=f"kind-{i}"))
    document = [json.loads(line) for line in failures.document().splitlines()]
    counts = [d["n_objects"] for d in document if d["event"] == "failures"]
    assert len(counts) == MOST_KINDS + 1 and sum(counts) == 10 * MOST_KINDS
    assert len(document) <= (MOST_KINDS + 1) * (EACH + 1)
