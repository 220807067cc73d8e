import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from dfd_batch import checkpoint as checkpoints
from dfd_batch import pipeline
from dfd_batch.catalog.listing import listing
from dfd_batch.checkpoint import Metric, ModelCard, Thresholds
from dfd_batch.cli import app
from dfd_batch.judge.decide import band
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import RunResult
from dfd_batch.schema import REPORT
from dfd_batch.settings import Settings, Storage
from dfd_batch.site.detectors import JudgedBy
from dfd_batch.site.words import calibration

SCANNED = datetime(2026, 5, 4, 12, tzinfo=UTC)
GENUINE = np.random.default_rng(0).beta(2, 6, 400)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    directory = tmp_path / "toy"
    metric = Metric(name="AUC", data="some", value=0.9, n=10, command="measure")
    card = ModelCard(name="toy", version="1", description="a toy", metrics=(metric,))
    checkpoints.save(directory, card, {"encoder.bias": np.ones(3, np.float32)})
    return directory


def write(
    out: Path, base: Path, scores: Any, media: str = "image", content: str = "", **other: Any
) -> None:
    """Write report rows by the base detector, as a scan leaves them."""
    card = checkpoints.load_card(str(base))
    run_id = f"run{media}{other.get('outcome', '')}{other.get('detector_id', '')}"
    known = {
        "run_id": run_id,
        "detector_id": checkpoints.detector_id(card, *Settings().judging),
        "outcome": "scored",
        "media": media,
        "attempt": 1,
        "scanned_at": SCANNED,
    }
    names = [f"{media}{i}" for i in range(len(scores))]
    rows = [
        known | {"media_id": name + content, "uri": f"/in/{name}", "probability": float(p)} | other
        for name, p in zip(names, scores, strict=True)
    ]
    table = pa.Table.from_pylist(rows, schema=REPORT)
    write_rows(table, str(out), SCANNED.date(), run_id, Storage())


def calibrate(base: Path, out: Path, *arguments: object) -> Result:
    words = ["calibrate", "--checkpoint", base, "--out", out, *arguments]
    return CliRunner().invoke(app, [str(w) for w in words])


def test_a_new_card_with_the_same_weights_holds_the_rate(base: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", base, GENUINE)
    write(tmp_path / "in", base, [0.99] * 50, "other", detector_id="another")
    write(tmp_path / "in", base, [0.0] * 7, "video", outcome="no_face", probability=None)
    done = calibrate(base, tmp_path / "own", "--reports", tmp_path / "in", "--fpr", "0.01")
    assert done.exit_code == 0, done.output
    before, after = (checkpoints.load(str(path)) for path in (base, tmp_path / "own"))
    assert after.card.weights_sha256 == before.card.weights_sha256
    verdicts = [band(p, after.card.thresholds) for p in GENUINE]
    assert sum(v in {"suspicious", "manipulated"} for v in verdicts) == 3
    assert verdicts.count("manipulated") == 0
    point = after.card.operating_point
    assert point is not None
    assert (point.target_fpr, point.n_images, point.n_videos) == (0.01, 400, 0)
    assert point.looks == checkpoints.looks_id(*Settings().judging)
    assert point.base == "toy 1" and point.coverage == "standard" and "20" in point.date
    assert (after.card.name, after.card.version[:9]) == ("own", "1+fpr0.01")
    rates = {m.name: m for m in after.card.metrics}
    assert rates["AUC"].value == 0.9
    suspicious = rates["false alarm rate, suspicious"]
    assert suspicious.value == pytest.approx(4 / 401) and suspicious.n == 400
    assert suspicious.low < 0.01 < suspicious.high
    assert "7 no_face" in done.output and "99 for a false alarm rate of 1 %" in done.output


def test_too_few_media_write_nothing_and_say_what_is_possible(base: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", base, GENUINE[:40])
    asked = ["--reports", tmp_path / "in", "--fpr", "0.001"]
    done = calibrate(base, tmp_path / "own", *asked)
    assert done.exit_code == 1
    assert "takes 999" in done.stderr and "2.4 %" in done.stderr
    assert not (tmp_path / "own").exists()
    done = calibrate(base, tmp_path / "own", *asked, "--best-effort", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["bands"][1]["fpr"] == pytest.approx(1 / 41) and told["bands"][2]["fpr"] is None
    own = checkpoints.load_card(str(tmp_path / "own")).thresholds
    assert own.suspicious > GENUINE[:40].max() and own.manipulated == 1


@pytest.mark.parametrize(("asked", "held"), [(0.001, 1 / 11), (0.2, 0.2)])
def test_best_effort_promises_only_what_the_sample_holds(
    asked: float, held: float, base: Path, tmp_path: Path
) -> None:
    write(tmp_path / "in", base, GENUINE[:10])
    words = ["--reports", tmp_path / "in", "--fpr", asked, "--best-effort"]
    done = calibrate(base, tmp_path / "own", *words)
    assert done.exit_code == 0, done.output
    card = checkpoints.load_card(str(tmp_path / "own"))
    rates = {m.name: m.value for m in card.metrics}
    assert card.operating_point is not None
    promised = card.operating_point.target_fpr
    assert promised == pytest.approx(held) and promised >= rates["false alarm rate, suspicious"]
    assert f"+fpr{held:g}." in card.version
    page = calibration(JudgedBy("id", "own", Settings(), card, None))
    assert f"at most {100 * held:g} % of such" in page
    both = "a false alarm rate of 9.1 %, which the checkpoint says, not the 0.1 % asked for"
    assert (both in done.output) == (held > asked)
    told = json.loads(calibrate(base, tmp_path / "own", *words, "--json").stdout)
    assert (told["target_fpr"], told["held_fpr"]) == (asked, pytest.approx(held))


def test_without_a_name_it_goes_where_the_help_says(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in", base, GENUINE)
    words = ["calibrate", "--checkpoint", str(base), "--reports", "in"]
    for _ in range(2):  # what calibration left there is written over, another's never
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert checkpoints.load_card("dfd-calibrated").operating_point is not None
    shutil.copyfile(base / "card.json", "dfd-calibrated/card.json")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "another directory" in done.stderr
    assert checkpoints.load_card("dfd-calibrated").operating_point is None


def test_images_and_videos_that_differ_are_told_apart(base: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", base, GENUINE)
    write(tmp_path / "in", base, GENUINE[:100] + 0.3, "video")
    done = calibrate(base, tmp_path / "own", "--reports", tmp_path / "in", "--fpr", "0.05")
    assert done.exit_code == 0
    warned = [line for line in done.output.splitlines() if line.startswith("warning")]
    assert [line.split()[1] for line in warned] == ["images", "videos"]
    alike = calibrate(base, tmp_path / "own", "--reports", tmp_path / "in", "--fpr", "0.5")
    assert "warning" in alike.output  # and a checkpoint of its own making is written over
    write(tmp_path / "same", base, GENUINE)
    write(tmp_path / "same", base, GENUINE[::3], "video")
    done = calibrate(base, tmp_path / "own", "--reports", tmp_path / "same", "--fpr", "0.05")
    assert done.exit_code == 0 and "warning" not in done.output


def test_images_alone_are_not_told_apart_from_images(base: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", base, [0.5] * 200)
    done = calibrate(base, tmp_path / "own", "--reports", tmp_path / "in", "--fpr", "0.1")
    assert done.exit_code == 0 and "warning" not in done.output


def test_of_a_source_only_its_objects_count_and_none_is_judged_twice(
    base: Path, tmp_path: Path
) -> None:
    media, out = tmp_path / "media", tmp_path / "out"
    media.mkdir()
    for i in range(30):
        (media / f"{i}.jpg").write_bytes(bytes([i]))
    write(out, base, [0.99] * 50)  # the archive's, not the genuine sample's
    for item in listing(str(media), Settings().select, Storage()):
        name = {"media_id": item.media_id, "uri": item.uri}
        write(out, base, GENUINE[:1], **name)
    done = calibrate(base, tmp_path / "own", media, "--reports", out, "--fpr", "0.1", "--json")
    assert done.exit_code == 0, done.output
    assert "30 objects listed, 30 done before, 0 to scan" in done.stderr
    told = json.loads(done.stdout)
    assert told["outcomes"] == {"scored": 30}
    assert told["bands"][1]["threshold"] == pytest.approx(GENUINE[0])


def test_calibrating_again_replaces_what_calibrating_said(base: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", base, GENUINE)
    first, second = tmp_path / "first", tmp_path / "second"
    assert calibrate(base, first, "--reports", tmp_path / "in").exit_code == 0
    write(tmp_path / "again", first, GENUINE)
    assert calibrate(first, second, "--reports", tmp_path / "again").exit_code == 0
    one, two = (checkpoints.load_card(str(path)) for path in (first, second))
    assert two.thresholds == one.thresholds and two.version[:9] == one.version[:9]
    assert two.operating_point is not None and two.operating_point.base == "toy 1"
    assert len(two.metrics) == len(one.metrics) == 4
    assert two.limitations == one.limitations


def test_a_newer_verdict_of_an_object_counts_instead_of_the_older(
    base: Path, tmp_path: Path
) -> None:
    write(tmp_path / "in", base, GENUINE)
    late = {"scanned_at": SCANNED + timedelta(days=1), "outcome": "empty"}
    write(tmp_path / "in", base, GENUINE[:100], content="changed", **late)
    done = calibrate(base, tmp_path / "own", "--reports", tmp_path / "in", "--json")
    assert json.loads(done.stdout)["outcomes"] == {"scored": 300, "empty": 100}


def test_a_scored_row_without_a_probability_is_refused(base: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", base, [*GENUINE, np.nan])
    done = calibrate(base, tmp_path / "own", "--reports", tmp_path / "in")
    assert (done.exit_code, "/in/image400 scored with nan" in done.stderr) == (2, True)
    assert not (tmp_path / "own").exists()


def test_a_scan_that_stopped_is_told(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"genuine")
    reports = tmp_path / "out"
    account = (str(reports / "runs" / "r"), str(reports), "id", {}, 1, 0, 0, 1.0)
    stopped = RunResult("r", *account, stopped="OUT cannot be written any more.")
    monkeypatch.setattr(pipeline, "scan", lambda *_, **__: stopped)
    done = calibrate(base, tmp_path / "own", tmp_path / "a.jpg", "--reports", reports)
    assert done.exit_code == 2
    assert "Stopped. OUT cannot be written any more. Run the same command again" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "{tmp}/own"], "--reports"),
        (["--out", "{tmp}/own", "--reports", "{tmp}/empty"], "No genuine object was scored"),
        (["--out", "{tmp}/toy", "--reports", "{tmp}/in"], "another directory"),
        (["--out", "{tmp}/file/own", "--reports", "{tmp}/in"], "cannot be written"),
        (["{tmp}/nowhere", "--out", "{tmp}/own"], "nowhere"),
        (["--out", "{tmp}/own", "--reports", "{tmp}/in", "--fpr", "0"], "--fpr"),
    ],
)
def test_bad_usage_is_one_sentence(
    arguments: list[str], said: str, base: Path, tmp_path: Path
) -> None:
    write(tmp_path / "in", base, GENUINE)
    (tmp_path / "file").write_text("")
    words = [a.format(tmp=tmp_path) for a in arguments]
    done = CliRunner().invoke(app, ["calibrate", "--checkpoint", str(base), *words])
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.output
    assert checkpoints.load_card(str(base)).thresholds == Thresholds()
