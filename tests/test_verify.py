"""`dfd verify` on a real run: sound as it was written, and every kind of damage named."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage.data import astronaut, coffee
from typer.testing import CliRunner

from dfd_batch import checkpoint, pipeline
from dfd_batch.cli import app
from dfd_batch.reports.write import file_name, write_rows, write_table
from dfd_batch.runs import Run, close_run, open_run
from dfd_batch.schema import MANIFEST, REPORT
from dfd_batch.settings import Settings, Storage
from dfd_batch.stages import RunContext
from dfd_batch.verify import judged
from tests.e2e.detector import write_detector
from tests.media import moving_frames, write_video

STORAGE = Storage()
STARTED = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run of four objects that the stages really judged, in two report files."""
    root = tmp_path_factory.mktemp("verify")
    media = root / "media"
    media.mkdir()
    Image.fromarray(astronaut()).save(media / "face.jpg")
    Image.fromarray(coffee()).save(media / "none.jpg")
    write_video(media / "face.mp4", moving_frames(8, 300, 256))
    (media / "empty.mp4").touch()
    settings = Settings(checkpoint=write_detector(root / "detector"))
    found = pipeline.make_plan(str(media), str(root / "out"), settings)
    detector = checkpoint.load(settings.checkpoint)
    run = Run(f"{STARTED:%Y%m%dT%H%M%S}-{found.digest[:8]}", str(root / "out"), STARTED)
    open_run(run, found.table, str(media), settings, detector.card, found.detector_id)
    context = RunContext(settings, run.out, run.run_id, found.detector_id, run.scan_date, detector)
    rows = list(judged(found.table, context))
    for part in (rows[:1], rows[1:]):
        table = pa.Table.from_pylist(part, schema=REPORT)
        write_rows(table, run.out, run.scan_date, run.run_id, STORAGE)
    assert close_run(run, found.table, {}, found.detector_id, 1.0, STORAGE).reconciled
    return root


@pytest.fixture
def root(written, tmp_path):
    """A copy of the output and of the media's times, so that each test may damage it."""
    shutil.copytree(written / "out", tmp_path / "out")
    return tmp_path


def verify(root, *arguments):
    done = CliRunner().invoke(
        app, ["verify", "--out", str(root / "out"), *map(str, arguments)], env={"COLUMNS": "200"}
    )
    assert "Traceback" not in done.output
    return done


def report_files(root):
    return sorted((root / "out").glob("reports/*/*.parquet"), key=lambda p: p.stat().st_size)


def edit(path, change):
    """Write a report file again, its rows changed, under its old name."""
    rows = pq.read_table(path, partitioning=None).to_pylist()
    changed = change(rows) or rows
    table = pa.Table.from_pylist(changed, schema=REPORT).replace_schema_metadata(REPORT.metadata)
    write_table(table, str(path), STORAGE)


def first_scored(rows):
    return next(row for row in rows if row["outcome"] == "scored")


def test_a_sound_run_is_sound_and_its_objects_judged_again_get_the_same(root):
    done = verify(root, "--sample", 4, "--json")
    told = json.loads(done.output)
    assert done.exit_code == 0 and told["sound"], told
    assert {check["name"]: check["looked_at"] for check in told["checks"]}.items() >= {
        "reconciliation": "manifest 4, report 4",
        "judged again": "4 objects",
        "report files": "2 files",
    }.items()
    assert told["notes"] == []
    assert "good" in verify(root, "--sample", 0).output


def test_a_run_that_had_nothing_to_do_is_sound(root):
    account = json.loads(next((root / "out").glob("runs/*/run.json")).read_text())
    settings = Settings.model_validate(account["settings"])
    detector = checkpoint.load(settings.checkpoint)
    later = Run("20260505T120000-00000000", str(root / "out"), STARTED)
    nothing = MANIFEST.empty_table()
    open_run(later, nothing, "media", settings, detector.card, account["detector_id"])
    close_run(later, nothing, {}, account["detector_id"], 0.0, STORAGE)
    done = verify(root, "--json")
    told = json.loads(done.output)
    assert done.exit_code == 0 and told["sound"], told
    assert told["run_id"] == later.run_id
    assert {c["name"]: c["looked_at"] for c in told["checks"]}["judged again"] == "0 objects"


def delete_a_file(root):
    report_files(root)[0].unlink()
    return "no row tells of it"


def double_a_row(root):
    edit(report_files(root)[-1], lambda rows: [*rows, rows[0]])
    return "2 times in the report"


def tear_a_file(root):
    path = report_files(root)[0]
    path.write_bytes(path.read_bytes()[:-100])
    return "no whole Parquet file"


def change_a_probability(root):
    def change(rows):
        row = first_scored(rows)
        row["probability"] += 0.0005
        row["integrity"] -= 0.0005

    edit(report_files(root)[-1], change)
    return "probability is"


def give_a_failure_a_score(root):
    edit(report_files(root)[-1], lambda rows: first_scored(rows).update(outcome="no_face"))
    return "is no_face and has a score"


def change_a_verdict(root):
    edit(report_files(root)[-1], lambda rows: first_scored(rows).update(verdict="manipulated"))
    return "its verdict is manipulated"


def invent_an_outcome(root):
    edit(report_files(root)[-1], lambda rows: rows[-1].update(outcome="fine"))
    return "no outcome 'fine'"


def name_a_foreign_run(root):
    edit(report_files(root)[-1], lambda rows: rows[0].update(run_id="20260101T000000-00000000"))
    return "another run, 20260101T000000-00000000"


def name_a_foreign_detector(root):
    edit(report_files(root)[-1], lambda rows: rows[0].update(detector_id="0123456789abcdef"))
    return "another detector, 0123456789abcdef"


def put_not_a_number(root):
    edit(report_files(root)[-1], lambda rows: first_scored(rows).update(probability=float("nan")))
    return "nan is no probability"


def swap_a_files_rows(root):
    one, two = report_files(root)
    one.write_bytes(two.read_bytes())
    return "does not hold the objects that it was written with"


def raise_the_schema_version(root):
    path = report_files(root)[-1]
    table = pq.read_table(path, partitioning=None)
    newer = table.replace_schema_metadata({"dfd_batch.schema_version": "99"})
    write_table(newer, str(path), STORAGE)
    return "schema version 99"


def change_a_column(root):
    path = report_files(root)[-1]
    table = pq.read_table(path, partitioning=None)
    at = table.schema.get_field_index("attempt")
    write_table(
        table.set_column(at, "attempt", pc.cast(table["attempt"], "string")), str(path), STORAGE
    )
    return "column attempt is string"


def manifest(root, change):
    (path,) = (root / "out").glob("runs/*/manifest.parquet")
    rows = pq.read_table(path).to_pylist()
    change(rows)
    write_table(pa.Table.from_pylist(rows, schema=MANIFEST), str(path), STORAGE)


def put_another_row_into_the_manifest(root):
    other = {"media_id": "0" * 32, "uri": "/not/there.mp4", "attempt": 1}
    manifest(root, lambda rows: rows.append(other))
    return "/not/there.mp4: media_id 000"


def change_the_manifests_uri(root):
    manifest(root, lambda rows: rows[0].update(uri="/else/where.jpg"))
    return "the manifest '/else/where.jpg'"


def remove_the_manifest(root):
    for path in (root / "out").glob("runs/*/manifest.parquet"):
        path.unlink()
    return "manifest.parquet cannot be read"


def remove_the_summary(root):
    for path in (root / "out").glob("runs/*/summary.json"):
        path.unlink()
    return "no summary.json"


def count_wrongly(root):
    (path,) = (root / "out").glob("runs/*/summary.json")
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"n_reported": 5}))
    return "counts 4 objects and 5 rows"


@pytest.mark.parametrize(
    "damage",
    [
        delete_a_file, double_a_row, tear_a_file, change_a_probability, give_a_failure_a_score,
        change_a_verdict, invent_an_outcome, name_a_foreign_run, name_a_foreign_detector,
        put_not_a_number, swap_a_files_rows, raise_the_schema_version, change_a_column,
        put_another_row_into_the_manifest, change_the_manifests_uri, remove_the_manifest,
        remove_the_summary, count_wrongly,
    ],
)  # fmt: skip
def test_damage_is_found_and_named(root, damage):
    said = damage(root)
    done = verify(root, "--sample", 4 if damage is change_a_probability else 0)
    assert done.exit_code == 1
    assert said in done.output


def test_other_weights_are_found_and_the_ones_that_judged_can_be_named(root, written, tmp_path):
    away = tmp_path / "away"
    shutil.copytree(written / "detector", away)
    (path,) = (root / "out").glob("runs/*/run.json")
    told = json.loads(path.read_text())
    told["settings"]["checkpoint"] = str(tmp_path / "gone")
    path.write_text(json.dumps(told))
    done = verify(root)
    assert done.exit_code == 1 and "No checkpoint" in done.output
    assert verify(root, "--sample", 0, "--checkpoint", away).exit_code == 0
    other = write_detector(tmp_path / "other", temporal="gru")
    done = verify(root, "--checkpoint", other)
    assert done.exit_code == 1 and "give --checkpoint the one that judged" in done.output
    weights = away / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    done = verify(root, "--checkpoint", away)
    assert done.exit_code == 1 and "the weights were changed" in done.output


def test_objects_that_changed_or_vanished_since_are_named_and_no_fault(root, written):
    media = written / "media"
    kept = (media / "face.jpg").read_bytes()
    gone = media / "face.mp4"
    gone.rename(written / "aside.mp4")
    (media / "face.jpg").write_bytes(kept + b"x")
    try:
        told = json.loads(verify(root, "--sample", 4, "--json").output)
    finally:
        (written / "aside.mp4").rename(gone)
        (media / "face.jpg").write_bytes(kept)
    assert told["sound"], told
    assert sorted(Path(note.split(": ")[0]).name for note in told["notes"]) == [
        "face.jpg",
        "face.mp4",
    ]


def test_a_run_that_is_not_there_is_one_sentence(root):
    done = verify(root, "nothing")
    assert done.exit_code == 2 and "No run 'nothing'" in done.stderr


def test_a_files_name_follows_from_its_objects_in_any_order():
    assert file_name("r", ["b", "a"]) == file_name("r", ["a", "b"]) != file_name("r", ["a"])
