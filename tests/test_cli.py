import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from dfd_batch.checkpoint import ModelCard, save
from dfd_batch.cli import app
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import Run, close_run, open_run
from dfd_batch.schema import MANIFEST, REPORT
from dfd_batch.settings import Settings, Storage

STARTED = datetime(2026, 5, 4, 12, tzinfo=UTC)
RUN_ID = "20260504T120000-abcdef12"


@pytest.fixture(autouse=True)
def toy_detector(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> ModelCard:
    directory = tmp_path_factory.mktemp("detector")
    weights = {"encoder.bias": np.zeros(1, np.float32)}
    saved = save(directory, ModelCard(name="toy", version="1", description="a toy"), weights)
    monkeypatch.setenv("DFD_CHECKPOINT", str(directory))
    return saved.card


def dfd(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def scored(name: str, probability: float, **other: Any) -> dict[str, Any]:
    verdict = "manipulated" if probability > 0.85 else "authentic"
    timeline = [
        {"t_s": i / 25, "track": 0, "probability": probability if i > 8 else 0.1} for i in range(16)
    ]
    box = {"x0": 10.0, "y0": 20.0, "x1": 110.0, "y1": 140.0}
    face = {"track": 0, "probability": probability, "first_s": 0.0, "last_s": 0.6, "n_frames": 16}
    segment = {"track": 0, "start_s": 0.36, "end_s": 0.64, "probability": probability}
    return {
        "uri": f"/media/in/{name}",
        "outcome": "scored",
        "verdict": verdict,
        "probability": probability,
        "integrity": 1 - probability,
        "threshold": 0.6,
        "duration_s": 5.0,
        "n_faces": 1,
        "faces": [face | {"box": box}],
        "timeline": timeline,
        "segments": [segment] if verdict == "manipulated" else [],
    } | other


ROWS = [
    scored("genuine.mp4", 0.12, media_id="aaaaaaaa01"),
    scored("swapped.mp4", 0.97, media_id="bbbbbbbb02"),
    {
        "media_id": "cccccccc03",
        "uri": "/media/in/evil\x1b[2J[red]\nname.mp4",
        "outcome": "unreadable",
        "error_kind": "InvalidDataError",
        "error_message": "the container has no index",
    },
]


def write_run(out: Path, rows: list[dict[str, Any]], promised: list[dict[str, Any]]) -> None:
    run = Run(RUN_ID, str(out), STARTED)
    known = {"attempt": 1, "size_bytes": 1000, "media": "video"}
    manifest = pa.Table.from_pylist([known | r for r in promised], schema=MANIFEST)
    card = ModelCard(name="toy", version="1", description="a toy")
    open_run(run, manifest, "/media/in", Settings(), card, "d1")
    told = known | {
        "detector_id": "d1",
        "run_id": RUN_ID,
        "scanned_at": STARTED + timedelta(seconds=9),
        "bytes_read": 1000,
        "decode_ms": 250.0,
    }
    table = pa.Table.from_pylist([told | r for r in rows], schema=REPORT)
    write_rows(table, str(out), STARTED.date(), RUN_ID, Storage())
    counts = {"n_listed": len(promised), "n_done": 0}
    if len(rows) == len(promised):
        close_run(run, manifest, counts, "d1", 4.0, Storage())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_run(tmp_path / "out", ROWS, ROWS)
    return tmp_path / "out"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['dfd', '--help']\n"
        "from dfd_batch.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'pyarrow', 'cv2', 'numpy', 'av', 'boto3', 'pydantic'}\n"
        "sys.exit(', '.join(sorted(heavy & sys.modules.keys())) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Scans archives" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--coverage", "half"], ["sampling.coverage", "'half'", "'quick', 'standard' or 'full'"]),
        (["--max-size", "big"], ["--max-size 'big'", "GB"]),
        (["--newer-than", "soon"], ["--newer-than 'soon'", "days"]),
        (["--crop-actors", "0"], ["pools.crop_actors", "greater than or equal to 1"]),
        (["--device", "tpu"], ["pools.device", "'tpu'"]),
        (["--config", "missing.toml"], ["missing.toml", "--config"]),
        (["--checkpoint", "nowhere"], ["nowhere", "card.json"]),
    ],
)
@pytest.mark.parametrize("command", ["scan", "plan"])
def test_a_wrong_value_is_one_sentence_and_exit_code_2(
    tmp_path: Path, command: str, arguments: list[str], says: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"a")
    result = dfd(command, tmp_path / "in", "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert all(words in result.stderr for words in says), result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_key_in_the_settings_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "dfd.toml"
    config.write_text("[sampling]\nclipz = 3\n")
    result = dfd("plan", tmp_path, "--out", tmp_path / "out", "--config", config)
    assert result.exit_code == 2
    assert "sampling.clipz = 3: there is no such setting" in result.stderr


def test_a_source_needs_an_output(tmp_path: Path) -> None:
    result = dfd("scan", tmp_path)
    assert result.exit_code == 2
    assert "--out" in result.stderr


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    result = dfd("plan", tmp_path / "nothing", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "nothing" in result.stderr


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dfd_batch.pipeline.scan", interrupt)
    result = dfd("scan", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "Run the same command again to go on" in result.stderr


def test_plan_counts_by_kind_and_folder(tmp_path: Path) -> None:
    for name in ("a/1.mp4", "a/2.jpg", "b/3.mp4", "4.mkv"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    told = dfd("plan", tmp_path / "in", "--out", tmp_path / "out", "--exclude", "b/*", "--json")
    assert told.exit_code == 0, told.stderr
    plan = json.loads(told.stdout)
    assert (plan["n_listed"], plan["n_done"], plan["n_planned"]) == (3, 0, 3)
    assert {k["name"]: k["n_objects"] for k in plan["kinds"]} == {"video": 2, "image": 1}
    assert {p["name"]: p["bytes"] for p in plan["prefixes"]} == {"a/": 200, ".": 100}
    text = dfd("plan", tmp_path / "in", "--out", tmp_path / "out").stdout
    assert "4 objects listed, 0 done before, 4 to scan (400 B)" in text


def test_show_tells_verdict_segment_and_timeline(out: Path) -> None:
    result = dfd("show", "swapped.mp4", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "verdict   manipulated" in result.stdout
    assert "segment   0.36–0.64 s" in result.stdout
    plotted = [line for line in result.stdout.splitlines() if "•" in line and "│" in line]
    assert plotted[0].startswith("1.00") or "•" in plotted[0].rstrip("│ ")[-8:]  # high at the end
    assert "•" in plotted[-1][:20]  # low at the start


@pytest.mark.parametrize("wanted", ["/media/in/swapped.mp4", "in/swapped.mp4", "bbbbbbbb"])
def test_show_gives_the_whole_row_as_json(out: Path, wanted: str) -> None:
    row = json.loads(dfd("show", wanted, "--out", out, "--json").stdout)
    assert row.keys() == set(REPORT.names)
    assert row["media_id"] == "bbbbbbbb02"
    assert row["scanned_at"] == "2026-05-04T12:00:09+00:00"
    assert len(row["timeline"]) == 16


def test_show_of_a_failure_has_no_verdict_and_no_control_characters(out: Path) -> None:
    text = dfd("show", "cccccccc", "--out", out).stdout
    assert "unreadable (InvalidDataError): no verdict" in text
    assert "the container has no index" in text
    assert "evil\\x1b[2J[red]\\nname.mp4" in text
    assert "\x1b" not in text


def test_show_of_an_unclear_name_lists_the_choices(out: Path) -> None:
    result = dfd("show", ".mp4", "--out", out)
    assert result.exit_code == 2
    assert "fits 3 objects" in result.stderr
    assert "aaaaaaaa01  /media/in/genuine.mp4" in result.stderr


def test_show_of_something_unknown_is_a_usage_error(out: Path) -> None:
    result = dfd("show", "other.mp4", "--out", out)
    assert result.exit_code == 2
    assert "No report of 'other.mp4'" in result.stderr


def test_summary_reconciles_and_names_failures(out: Path) -> None:
    result = dfd("summary", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "outcomes  2 scored, 1 unreadable" in result.stdout
    assert "verdicts  1 authentic, 1 manipulated" in result.stdout
    assert "InvalidDataError" in result.stdout
    assert "manifest 3 == report 3" in result.stdout


def test_summary_as_json_counts_what_lies_on_storage(out: Path) -> None:
    account = json.loads(dfd("summary", "20260504", "--out", out, "--json").stdout)
    assert account["run_id"] == RUN_ID
    assert account["outcomes"] == {"scored": 2, "unreadable": 1}
    assert account["work"]["media_s"] == 10.0
    assert account["work"]["bytes_read"] == 3000
    assert account["work"]["step_s"]["decode"] == 0.75
    (cause,) = account["work"]["failures"]
    assert (cause["error_kind"], cause["n_objects"]) == ("InvalidDataError", 1)
    assert account["finished"] and account["reconciled"]


def test_summary_of_a_run_cut_short_says_so(tmp_path: Path) -> None:
    write_run(tmp_path, ROWS[:2], ROWS)
    text = dfd("summary", "--out", tmp_path).stdout
    assert "not finished" in text
    assert "manifest 3 != report 2" in text


def test_summary_without_a_run_is_a_usage_error(tmp_path: Path) -> None:
    result = dfd("summary", "--out", tmp_path)
    assert result.exit_code == 2
    assert "No run yet" in result.stderr


def test_info_tells_versions_machine_and_the_detector_in_use(toy_detector: ModelCard) -> None:
    account = json.loads(dfd("info", "--json").stdout)
    assert account["versions"]["python"].startswith("3.")
    assert account["machine"]["n_cpus"] >= 1
    used = account["detectors"][0]
    assert (used["name"], used["weights_sha256"]) == ("toy", toy_detector.weights_sha256)
    assert len(used["detector_id"]) == 16


def test_train_without_data_is_a_usage_error(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    result = dfd("train", "--data", missing, "--work", tmp_path, "--out", tmp_path)
    assert result.exit_code == 2
    assert "No training data" in result.stderr
