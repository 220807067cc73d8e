"""The file of a tick: what it may say; a mistake in it is named before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfd_batch.outcomes import UsageError
from dfd_batch.schedule.rules import load

WHOLE = """
source = "in"
out = "s3://verdicts/x"
[scan]
limit = 10
full_every_hours = 24
[act]
policy = "p.toml"
[report]
to = "page"
[notify]
url_file = "url"
[settings]
sampling.coverage = "quick"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tick.toml"
    path.write_text(text)
    (folder / "p.toml").write_text('[quarantine]\nto = "s3://held"\n')
    return path


def test_relative_paths_count_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = write(tmp_path, WHOLE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "dfd.toml").write_text('sampling.coverage = "full"\n')
    monkeypatch.setenv("DFD_LIMITS__MAX_ATTEMPTS", "7")
    job = load(path)
    rules = job.rules
    assert (rules.source, rules.out) == (str(tmp_path / "in"), "s3://verdicts/x")
    assert (job.page, rules.notify.url_file) == (str(tmp_path / "page"), tmp_path / "url")
    assert job.policy.quarantine is not None and job.policy.quarantine.to == "s3://held"
    assert (job.settings.sampling.coverage, job.settings.limits.max_attempts) == ("quick", 7)
    assert job.at("head:6379").rules.scan.address == "head:6379"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('source = "in"', "out"),
        ('source = "in"\nout = "o"\nsauce = 1', "sauce = 1: there is no such setting"),
        ('source = "in"\nout = "o"\n[scan]\nlimit = 0', "scan.limit = 0 is not allowed"),
        ('source = "in"\nout = "o"\n[notify]\nwhen = "never"', "notify.when"),
        ('source = "in"\nout = "o"\n[report]\nleast = "bad"', "report.least"),
        ('source = "in"\nout = "o"\n[lease]\nexpires_s = 60', "three times lease.beat_s"),
        (
            'source = "in"\nout = "o"\n[settings]\nsample = 1',
            "sample = 1: there is no such",
        ),
        ('source = "in"\nout = "o"\n[settings]\ncheckpoint = "none"', "No checkpoint 'none'"),
        ('source = "in"\nout = "o"\n[act]\npolicy = "q.toml"', "q.toml cannot be read"),
        ('source = "in', "not valid TOML"),
    ],
)
def test_a_mistake_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        load(write(tmp_path, text))
    assert said in str(told.value)
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "nowhere.toml")
