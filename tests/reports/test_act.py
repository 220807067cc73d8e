import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from dfd_batch import checkpoint as checkpoints
from dfd_batch.catalog.listing import listing
from dfd_batch.checkpoint import Metric, ModelCard, OperatingPoint, Thresholds
from dfd_batch.cli import app
from dfd_batch.reports import actions, apply, restore
from dfd_batch.reports.views import query
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import Run, open_run
from dfd_batch.schema import MANIFEST, REPORT
from dfd_batch.settings import Features, Select, Settings, Storage
from dfd_batch.storage import is_s3
from dfd_batch.storage.acting import Refused, place_of

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STORAGE = Storage()
SCORES = {"real.mp4": 0.1, "odd.mp4": 0.6, "fake.mp4": 0.95, "worse.mp4": 0.99}
BANDS = Thresholds(inconclusive=0.5, suspicious=0.7, manipulated=0.9)
POINT = OperatingPoint(
    target_fpr=0.003, n_images=0, n_videos=1000, coverage="standard", date="2026-05-01",
    base="toy 1", command="dfd calibrate",
)  # fmt: skip


@dataclass
class Archive:
    """A scanned archive of four objects: where they lie, how they are looked at."""

    source: str
    out: str
    aside: str

    def uri(self, name: str) -> str:
        return f"{self.source}/{name}"

    def content(self, uri: str) -> bytes | None:
        """What lies at a URI, or None."""
        if not is_s3(uri):
            return Path(uri).read_bytes() if Path(uri).exists() else None
        place = place_of(uri, STORAGE)
        if place.head(uri) is None:
            return None
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def put(self, name: str, content: bytes) -> None:
        if not is_s3(self.source):
            Path(self.uri(name)).write_bytes(content)
            return
        bucket, _, key = self.uri(name).removeprefix("s3://").partition("/")
        boto3.client("s3").put_object(
            Bucket=bucket, Key=key, Body=content, Metadata={"camera": "7"},
            ContentType="video/mp4", Tagging="owner=me",
        )  # fmt: skip

    def tags(self, name: str) -> dict[str, str]:
        place = place_of(self.uri(name), STORAGE)
        head = place.head(self.uri(name))
        assert head is not None
        return place.tags(self.uri(name), head)

    def names(self) -> set[str]:
        return {n for n in SCORES if self.content(self.uri(n)) is not None}

    def scan(
        self, point: OperatingPoint | None = POINT, hour: int = 0, views: int = 1, **scores: float
    ) -> None:
        """Leave behind what a scan of all objects does."""
        rates = {"inconclusive": 0.012, "suspicious": 0.003, "manipulated": 0.001}
        card = ModelCard(
            name="toy", version="1", description="", thresholds=BANDS,
            operating_point=point,
            metrics=tuple(
                Metric(name=f"false alarm rate, {b}", data="", value=v, n=1000, command="")
                for b, v in rates.items()
            ) if point else (),
        )  # fmt: skip
        settings = Settings(features=Features(views=views))
        detector = checkpoints.detector_id(card, *settings.judging)
        began = NOON + timedelta(hours=hour)
        run = Run(f"{began:%Y%m%dT%H%M%S}-aa", self.out, began)
        open_run(run, MANIFEST.empty_table(), self.source, settings, card, detector)
        rows = []
        known = SCORES | {f"{name}.mp4": p for name, p in scores.items()}
        for item in listing(self.source, Select(), STORAGE):
            p = known[item.uri.rpartition("/")[2]]
            verdict = ["authentic", "inconclusive", "suspicious", "manipulated"][
                sum(p >= bound for bound in (0.5, 0.7, 0.9))
            ]
            rows.append(
                dict.fromkeys(REPORT.names)
                | {name: getattr(item, name) for name in MANIFEST.names if name != "attempt"}
                | {
                    "outcome": "scored", "probability": p, "verdict": verdict, "attempt": 1,
                    "detector_id": detector, "run_id": run.run_id, "scanned_at": began,
                }
            )  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=REPORT)
        write_rows(table, self.out, began.date(), run.run_id, STORAGE)


@pytest.fixture(params=["folder", "bucket", "versioned"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "folder":
        for name in ("in", "aside"):
            (tmp_path / name).mkdir()
        found = Archive(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "aside"))
    else:
        bucket = request.getfixturevalue("bucket")
        found = Archive(f"{bucket}/in", f"{bucket}/out", f"{bucket}/aside")
        if request.param == "versioned":
            version(bucket)
    fill(found)
    return found


def version(bucket: str) -> None:
    boto3.client("s3").put_bucket_versioning(
        Bucket=bucket.removeprefix("s3://"), VersioningConfiguration={"Status": "Enabled"}
    )


def fill(archive: Archive) -> None:
    for name in SCORES:
        archive.put(name, name.encode() * 10)
    archive.scan()


Act = Callable[..., dict[str, Any]]


def run(command: str, archive: Archive, *arguments: object) -> Result:
    words = [command, "--reports", archive.out, *map(str, arguments)]
    return CliRunner().invoke(app, words)


def act(archive: Archive, *arguments: object, code: int = 0) -> dict[str, Any]:
    done = run("act", archive, *arguments, "--json")
    assert done.exit_code == code, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def policy(archive: Archive, tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "policy.toml"
        path.write_text(text.replace("ASIDE", archive.aside).replace("IN", archive.source))
        return path

    return write


QUARANTINE = '[quarantine]\nto = "ASIDE"\n'
DELETE = "[delete]\nmax_false_alarm_rate = 0.002\n"


def table(archive: Archive) -> list[dict[str, Any]]:
    return query("SELECT * FROM actions", archive.out, STORAGE).to_pylist()


def test_the_default_is_a_dry_run_that_would_only_tag(archive: Archive) -> None:
    told = act(archive)
    assert told["planned"] == {"tag": 4} and not told["applied"] and told["results"] == {}
    assert "dfd-verdict" not in archive.tags("fake.mp4") and table(archive) == []
    assert "Dry run" in run("act", archive).output


def test_tags_are_set_beside_those_of_the_owner_and_only_once(archive: Archive) -> None:
    owned = archive.tags("fake.mp4")
    before = listing_of(archive)
    assert act(archive, "--apply")["results"] == {"tag": {"done": 4}}
    tags = archive.tags("fake.mp4")
    assert tags.items() >= owned.items()
    assert (tags["dfd-verdict"], tags["dfd-probability"]) == ("manipulated", "0.9500")
    assert listing_of(archive) == before  # no object looks changed, so none is scanned again
    again = act(archive, "--apply")
    assert again["planned"] == {} and again["n_done_before"] == 4 and len(table(archive)) == 4


def listing_of(archive: Archive) -> set[str]:
    return {item.media_id for item in listing(archive.source, Select(), STORAGE)}


def test_another_verdict_replaces_the_tag_and_takes_the_leave_to_read_back(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    file = policy("[allow]\n")
    act(archive, "--policy", file, "--apply")
    assert archive.tags("real.mp4")["dfd-access"] == "allow"
    assert "dfd-access" not in archive.tags("fake.mp4")
    archive.scan(hour=1, real=0.97)
    told = act(archive, "--policy", file, "--apply")
    assert told["results"] == {"tag": {"done": 1}}
    tags = archive.tags("real.mp4")
    assert tags["dfd-verdict"] == "manipulated" and "dfd-access" not in tags


def test_quarantine_moves_with_metadata_and_tags_and_restore_brings_back(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    file = policy(QUARANTINE)
    before = {name: archive.content(archive.uri(name)) for name in SCORES}
    listed = listing_of(archive)
    told = act(archive, "--policy", file, "--apply")
    assert told["results"] == {"tag": {"done": 4}, "quarantine": {"done": 2}}
    assert archive.names() == {"real.mp4", "odd.mp4"}
    held = {
        r["uri"]: r["kept_at"]
        for r in table(archive)
        if r["action"] == "quarantine" and r["kept_at"]
    }
    for name in ("fake.mp4", "worse.mp4"):
        assert archive.content(held[archive.uri(name)]) == before[name]
    assert act(archive, "--policy", file, "--apply")["planned"] == {}

    assert "2 objects in quarantine" in run("restore", archive).output
    dry = run("restore", archive, "fake.mp4")
    assert "1 objects would come back" in dry.output and len(archive.names()) == 2
    done = run("restore", archive, "fake.mp4", "--apply")
    assert done.exit_code == 0, done.output
    assert archive.content(archive.uri("fake.mp4")) == before["fake.mp4"]
    assert archive.content(held[archive.uri("fake.mp4")]) is None
    tags = archive.tags("fake.mp4")
    assert tags["dfd-verdict"] == "manipulated"
    if is_s3(archive.source):
        bucket, _, key = archive.uri("fake.mp4").removeprefix("s3://").partition("/")
        head = boto3.client("s3").head_object(Bucket=bucket, Key=key)
        assert (head["Metadata"], head["ContentType"]) == ({"camera": "7"}, "video/mp4")
        assert tags["owner"] == "me"
    told = act(archive, "--policy", file, "--apply")
    assert told["planned"] == {} and told["n_restored_before"] == 1  # a person's word stays
    assert run("restore", archive, "--all", "--apply").exit_code == 0
    assert archive.names() == set(SCORES) and listing_of(archive) == listed
    assert "0 objects in quarantine" in run("restore", archive).output


def test_a_relative_quarantine_counts_from_the_policy_and_is_not_quarantined_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    found = Archive(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "in" / "aside"))
    fill(found)
    (tmp_path / "policy.toml").write_text('[quarantine]\nto = "./in/../in/aside"\n')
    monkeypatch.chdir(tmp_path)
    told = act(found, "--policy", "policy.toml", "--apply")
    assert told["results"]["quarantine"] == {"done": 2}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with monkeypatch.context() as patch:
        patch.setitem(SCORES, apply.ORIGIN, 0.1)
        found.scan(hour=1)  # of what lies in quarantine, too
    told = act(found, "--policy", "../policy.toml", "--apply")
    assert told["planned"] == {"tag": 4}
    assert run("restore", found, "--all", "--apply").exit_code == 0
    assert found.names() == set(SCORES)


def test_an_object_that_is_called_as_the_record_beside_it_is_not_written_over(
    archive: Archive, policy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORES, apply.ORIGIN, 0.99)
    archive.put(apply.ORIGIN, b"a film")
    archive.scan(hour=1)
    told = act(archive, "--policy", policy(QUARANTINE), "--apply")
    assert told["results"]["quarantine"] == {"done": 3}
    (kept,) = (r["kept_at"] for r in table(archive) if r["uri"] == archive.uri(apply.ORIGIN)
               and r["kept_at"])  # fmt: skip
    assert archive.content(kept) == b"a film"
    assert run("restore", archive, "--all", "--apply").exit_code == 0
    assert archive.names() == set(SCORES)
    assert archive.content(archive.uri(apply.ORIGIN)) == b"a film"


@pytest.mark.parametrize("uri", ["s3://b/in/..", "s3://b/in/.", "/in/.."])
def test_no_name_leads_out_of_an_object_s_own_folder(uri: str) -> None:
    assert apply.kept_uri({"uri": uri, "media_id": "m"}, "/aside").startswith("/aside/m/o")


def test_an_object_that_changed_since_is_left_alone(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    archive.put("fake.mp4", b"another film")
    told = act(archive, "--policy", policy(QUARANTINE + DELETE), "--apply")
    assert told["results"]["delete"] == {"changed": 1, "done": 1}
    assert archive.content(archive.uri("fake.mp4")) == b"another film"
    assert "dfd-verdict" not in archive.tags("fake.mp4")


def test_an_object_that_changes_just_before_its_removal_is_left_alone(
    archive: Archive, policy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = apply._set_aside

    def then_written(row: Any, *more: Any) -> Any:
        kept = real(row, *more)
        archive.put(row["uri"].rpartition("/")[2], b"another film")
        return kept

    monkeypatch.setattr(apply, "_set_aside", then_written)
    told = act(archive, "--policy", policy(QUARANTINE), "--apply")
    assert told["results"]["quarantine"] == {"changed": 2}
    assert archive.content(archive.uri("fake.mp4")) == b"another film"


def test_an_object_that_is_gone_is_no_failure(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    place, uri = place_of(archive.uri("fake.mp4"), STORAGE), archive.uri("fake.mp4")
    head = place.head(uri)
    assert head is not None
    place.remove(uri, head)
    file = policy(QUARANTINE)
    told = act(archive, "--policy", file, "--apply")
    assert told["results"]["tag"] == {"done": 3, "missing": 1}
    assert told["results"]["quarantine"] == {"done": 1, "missing": 1}
    before = table(archive)
    again = act(archive, "--policy", file, "--apply")
    assert again["results"] == {"tag": {"missing": 1}, "quarantine": {"missing": 1}}
    assert table(archive) == before


def test_delete_removes_what_the_calibration_supports(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    file = policy(DELETE)
    dry = run("act", archive, "--policy", file)
    assert "false alarms to expect of delete: up to 0.004 of 4 objects" in dry.output
    told = act(archive, "--policy", file, "--apply")
    assert told["results"]["delete"] == {"done": 2}
    assert told["false_alarms"][0]["rate"] == 0.001
    assert archive.names() == {"real.mp4", "odd.mp4"}


def test_narrowing_does_not_get_round_the_number_of_false_alarms(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    file = policy(DELETE + "max_false_alarms = 0.002\n")
    done = run("act", archive, "--policy", file, "--where", "uri LIKE '%fake%'", "--apply")
    assert done.exit_code == 2 and "up to 0.004 of 4 objects" in done.stderr
    assert archive.names() == set(SCORES) and table(archive) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[delete]\n", "max_false_alarm_rate"),
        ("[delete]\nmax_false_alarm_rate = 0.0005\n", "0.10% are expected"),
        ('[delete]\nmax_false_alarm_rate = 0.002\nverdicts = ["suspicious"]\n', "0.30%"),
        ("[delete]\nmax_false_alarm_rate = 0.002\nmax_false_alarms = 0.001\n", "false alarms"),
        ('[delete]\nmax_false_alarm_rate = 0.01\nverdicts = ["authentic"]\n', "never deleted"),
        ("[quarantine]\n", "quarantine.to"),
        ('[quarantine]\nto = ""\n', "quarantine.to"),
        ('[quarantine]\nto = "s3://"\n', "s3://bucket/key"),
        ('[quarantine]\nto = "ELSEWHERE"\n', "cannot be quarantined"),
        ("[tga]\n", "there is no such setting"),
        ("[tag\n", "not valid TOML"),
    ],
)
def test_what_is_not_safe_or_not_valid_is_refused_before_anything_is_touched(
    archive: Archive, policy: Callable[[str], Path], text: str, said: str
) -> None:
    elsewhere = "/tmp/x" if is_s3(archive.source) else "s3://x"
    archive.scan(hour=1, odd=0.8)  # so that one is suspicious
    file = policy(text.replace("ELSEWHERE", elsewhere))
    done = run("act", archive, "--policy", file, "--apply")
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert archive.names() == set(SCORES) and table(archive) == []


def test_delete_without_a_calibration_is_refused(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    other = Archive(archive.source, f"{archive.out}-uncalibrated", archive.aside)
    other.scan(point=None)
    done = run("act", other, "--policy", policy(DELETE), "--apply")
    assert done.exit_code == 2 and "dfd calibrate" in done.stderr
    assert other.names() == set(SCORES) and table(other) == []


@pytest.mark.parametrize(
    ("calibrated", "scanned", "holds"),
    [(8, 8, True), (8, 1, False), (1, 8, False), (None, 8, False)],
)
def test_a_calibration_holds_for_scans_with_its_settings_alone(
    archive: Archive,
    policy: Callable[[str], Path],
    calibrated: int | None,
    scanned: int,
    holds: bool,
) -> None:
    other = Archive(archive.source, f"{archive.out}-other", archive.aside)
    settings = calibrated and Settings(features=Features(views=calibrated))
    looks = checkpoints.looks_id(*settings.judging) if settings else ""  # "": an older card's
    other.scan(POINT.model_copy(update={"looks": looks}), views=scanned)
    done = run("act", other, "--policy", policy(DELETE))
    assert (done.exit_code, "dfd calibrate" in done.stderr) == (0 if holds else 2, not holds)


def test_the_allow_list_and_the_owners_tag_are_honoured(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    uri = archive.uri("worse.mp4")
    place = place_of(uri, STORAGE)
    head = place.head(uri)
    assert head is not None
    place.change_tags(uri, head, {"dfd-keep": "yes"})
    file = policy('allow_list = ["IN/fa*"]\n[allow]\n' + DELETE)
    told = act(archive, "--policy", file, "--apply")
    assert told["n_allow_listed"] == 1 and told["results"]["delete"] == {"kept": 1}
    assert archive.names() == set(SCORES)
    tags = archive.tags("fake.mp4")
    assert tags["dfd-access"] == "allow" and "dfd-verdict" not in tags
    before = table(archive)
    assert act(archive, "--policy", file, "--apply")["results"] == {"delete": {"kept": 1}}
    assert table(archive) == before
    head = place.head(uri)
    assert head is not None
    place.change_tags(uri, head, {"dfd-keep": None})
    assert act(archive, "--policy", file, "--apply")["results"] == {"delete": {"done": 1}}


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("tagging", ["", "tag = false\n"])
@pytest.mark.parametrize("when", ["before the copy", "before the removal", "before the result"])
def test_killed_in_the_middle_it_goes_on(
    archive: Archive,
    policy: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    tagging: str,
) -> None:
    def killed(*_: Any) -> Any:
        raise _Killed

    real_write, real_place = actions.write, apply.place_of

    def no_result(rows: Any, *more: Any) -> Any:
        return real_write(rows, *more) if rows[0]["status"] == "started" else killed()

    class Fragile:
        def __init__(self, place: Any) -> None:
            self._place = place

        def __getattr__(self, name: str) -> Any:
            return killed if name == "remove" else getattr(self._place, name)

    file = policy(tagging + QUARANTINE)
    with monkeypatch.context() as patch:
        if when == "before the copy":
            patch.setattr(apply, "_set_aside", killed)
        elif when == "before the removal":
            patch.setattr(apply, "place_of", lambda *a: Fragile(real_place(*a)))
        else:
            patch.setattr(actions, "write", no_result)
        with pytest.raises(_Killed):
            CliRunner().invoke(
                app, ["act", "--reports", archive.out, "--policy", str(file), "--apply"],
                catch_exceptions=False,
            )  # fmt: skip
    told = act(archive, "--policy", file, "--apply")
    assert told["results"]["quarantine"] == {"done": 2}
    assert archive.names() == {"real.mp4", "odd.mp4"}
    assert act(archive, "--policy", file, "--apply")["planned"] == {}
    assert run("restore", archive, "--all", "--apply").exit_code == 0
    assert archive.names() == set(SCORES)


def test_restore_never_writes_over_another_object(
    archive: Archive, policy: Callable[[str], Path]
) -> None:
    act(archive, "--policy", policy(QUARANTINE), "--apply")
    archive.put("fake.mp4", b"a newer film")
    done = run("restore", archive, "fake.mp4", "--apply")
    assert done.exit_code == 1 and "another object lies there" in done.output
    assert archive.content(archive.uri("fake.mp4")) == b"a newer film"
    assert "2 objects in quarantine" in run("restore", archive).output


def test_of_two_contents_of_one_place_the_last_comes_back_and_the_other_stays(
    archive: Archive, policy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = policy(QUARANTINE)
    act(archive, "--policy", file, "--apply")
    archive.put("fake.mp4", b"a newer film")
    archive.scan(hour=1)
    act(archive, "--policy", file, "--apply")

    class Slow:
        def __init__(self, place: Any) -> None:
            self._place = place

        def __getattr__(self, name: str) -> Any:
            return getattr(self._place, name)

        def copy(self, *arguments: Any, **more: Any) -> Any:
            time.sleep(0.3)  # so that rows side by side have all looked at the place before
            return self._place.copy(*arguments, **more)

    monkeypatch.setattr(restore, "place_of", lambda *a: Slow(place_of(*a)))
    done = run("restore", archive, "--all", "--apply")
    assert done.exit_code == 1 and "another object lies there" in done.output
    assert archive.content(archive.uri("fake.mp4")) == b"a newer film"
    (kept,) = restore.quarantined(archive.out, STORAGE)
    assert archive.content(kept["kept_at"]) == b"fake.mp4" * 10


def test_a_copy_to_a_new_place_never_writes_over_what_appeared_there(archive: Archive) -> None:
    uri, to = archive.uri("fake.mp4"), archive.uri("real.mp4")
    place = place_of(uri, STORAGE)
    head = place.head(uri)
    assert head is not None
    with pytest.raises(Refused, match="another object lies there"):
        place.copy(uri, head, to, new=True)
    assert archive.content(to) == b"real.mp4" * 10
    fresh = archive.uri("fresh.mp4")
    place.copy(uri, head, fresh, new=True)
    assert archive.content(fresh) == b"fake.mp4" * 10


def test_a_file_with_the_longest_name_is_quarantined_and_brought_back(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    found = Archive(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "aside"))
    name = "\u4eba" * 83 + ".mp4"  # 253 bytes
    found.put(name, b"film")
    found.scan(**{name.removesuffix(".mp4"): 0.99})
    file = tmp_path / "policy.toml"
    file.write_text(f'[quarantine]\nto = "{found.aside}"\n')
    assert act(found, "--policy", file, "--apply")["results"]["quarantine"] == {"done": 1}
    assert run("restore", found, "--all", "--apply").exit_code == 0
    assert found.content(found.uri(name)) == b"film"


@pytest.mark.parametrize("rule", [QUARANTINE, DELETE])
def test_the_same_bytes_put_back_are_acted_on_again_unless_a_person_brought_them_back(
    archive: Archive, policy: Callable[[str], Path], rule: str
) -> None:
    file = policy(rule)
    uri = archive.uri("fake.mp4")
    told = Path(uri).stat() if not is_s3(uri) else None
    act(archive, "--policy", file, "--apply")
    archive.put("fake.mp4", b"fake.mp4" * 10)
    if told:  # as `cp -p` does
        os.utime(uri, ns=(told.st_atime_ns, told.st_mtime_ns))
    again = act(archive, "--policy", file, "--apply")
    kind = "quarantine" if rule == QUARANTINE else "delete"
    assert again["results"][kind] == {"done": 1} and "fake.mp4" not in archive.names()
    assert act(archive, "--policy", file, "--apply")["planned"] == {}
    if rule == QUARANTINE:
        assert run("restore", archive, "fake.mp4", "--apply").exit_code == 0
        assert act(archive, "--policy", file, "--apply")["planned"] == {}
        assert "fake.mp4" in archive.names()


def test_where_narrows_and_bad_words_are_one_sentence(archive: Archive) -> None:
    told = act(archive, "--where", "probability > 0.97")
    assert [o["uri"] for o in told["objects"]] == [archive.uri("worse.mp4")]
    assert run("act", archive, "--where", "nope > 1").exit_code == 2
    assert "'nope.mp4' fits nothing" in run("restore", archive, "nope.mp4").stderr


@pytest.fixture
def versioned(bucket: str) -> Iterator[Archive]:
    version(bucket)
    found = Archive(f"{bucket}/in", f"{bucket}/out", f"{bucket}/aside")
    fill(found)
    yield found


def versions(archive: Archive, name: str) -> list[str]:
    bucket, _, key = archive.uri(name).removeprefix("s3://").partition("/")
    listed = boto3.client("s3").list_object_versions(Bucket=bucket, Prefix=key)
    return [v["VersionId"] for v in listed.get("Versions", ())]


def test_in_a_versioned_bucket_delete_hides_unless_permanent(
    versioned: Archive, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(DELETE)
    act(versioned, "--policy", file, "--where", "uri LIKE '%fake%'", "--apply")
    assert len(versions(versioned, "fake.mp4")) == 1 and "fake.mp4" not in versioned.names()
    file.write_text(DELETE + "permanent = true\n")
    act(versioned, "--policy", file, "--apply")
    assert versions(versioned, "worse.mp4") == []
    acted = {r["uri"]: r["version_id"] for r in table(versioned) if r["status"] == "done"}
    assert acted[versioned.uri("worse.mp4")]


def test_permanent_removes_what_is_older_than_the_keeping_of_versions(
    bucket: str, tmp_path: Path
) -> None:
    found = Archive(f"{bucket}/in", f"{bucket}/out", f"{bucket}/aside")
    fill(found)
    version(bucket)
    file = tmp_path / "policy.toml"
    file.write_text(DELETE)
    act(found, "--policy", file, "--where", "uri LIKE '%fake%'", "--apply")
    assert versions(found, "fake.mp4") == ["null"] and "fake.mp4" not in found.names()
    file.write_text(DELETE + "permanent = true\n")
    assert act(found, "--policy", file, "--apply")["results"]["delete"] == {"done": 1}
    assert versions(found, "worse.mp4") == [] and "worse.mp4" not in found.names()


def test_a_locked_version_stays_and_the_row_says_so(s3_server: str, tmp_path: Path) -> None:
    client = boto3.client("s3")
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    held = Archive("s3://locked/in", "s3://locked/out", "s3://locked/aside")
    fill(held)
    (locked,) = versions(held, "fake.mp4")
    client.put_object_retention(
        Bucket="locked", Key="in/fake.mp4", VersionId=locked,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": datetime(2100, 1, 1, tzinfo=UTC)},
    )  # fmt: skip
    file = tmp_path / "policy.toml"
    file.write_text(DELETE + "permanent = true\n")
    told = act(held, "--policy", file, "--apply")
    assert told["results"]["delete"] == {"done": 1, "locked": 1}
    assert versions(held, "fake.mp4") == [locked] and "fake.mp4" in held.names()
    before = table(held)
    assert act(held, "--policy", file, "--apply")["results"] == {"delete": {"locked": 1}}
    assert table(held) == before
    file.write_text(DELETE)  # a marker over a locked version is allowed
    assert act(held, "--policy", file, "--apply")["results"] == {"delete": {"done": 1}}


def test_a_link_is_not_followed_to_be_moved(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    found = Archive(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "aside"))
    (tmp_path / "film").write_bytes(b"film")
    (tmp_path / "in" / "fake.mp4").symlink_to(tmp_path / "film")
    found.scan()
    file = tmp_path / "policy.toml"
    file.write_text(f'[quarantine]\nto = "{found.aside}"\n')
    told = act(found, "--policy", file, "--apply", code=1)
    assert told["results"]["quarantine"] == {"failed": 1}
    assert (tmp_path / "in" / "fake.mp4").is_symlink() and (tmp_path / "film").exists()
