"""The whole protocol on verdicts that lie there already: no network, no Ray."""

from __future__ import annotations

import json
import os
import re
import sys

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes

from dfd_batch import checkpoint as checkpoints
from dfd_batch import pipeline
from dfd_batch.checkpoint import Metric, ModelCard
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Settings
from dfd_batch.storage import local_uri
from tests.evaluation.conftest import evaluate, report_row, write_reports


def write_labels(path, lines):
    path.write_text("\n".join(["file,label,group,method,segments", *lines]) + "\n")
    return path


def one(told, **where):
    found = [r for r in told["rows"] if all(r[k] == v for k, v in where.items())]
    assert len(found) == 1, where
    return found[0]


@pytest.fixture
def archive(tmp_path):
    """Thirty genuine and twenty manipulated images, judged by a good and a blind detector."""
    rng = np.random.default_rng(0)
    lines, rows = [], []
    for i in range(50):
        label = int(i >= 30)
        name = f"{i}.jpg"
        method = ["<b>swap</b>", "drawn"][i % 2] if label else ""
        lines.append(f"{name},{label},g{i // 2},{method},")
        good = float(np.clip(0.2 + 0.5 * label + rng.normal(0, 0.15), 0.01, 0.99))
        px = {"width": 1000 if i % 2 else 100, "height": 100}
        # The objects 0 and 49 were not to be judged, 48 has never been scanned.
        if i != 48:
            scored = good if i not in (0, 49) else None
            rows.append(report_row(tmp_path / name, scored, "good", **px))
        rows.append(report_row(tmp_path / name, float(rng.random()), "blind", **px))
    labels = write_labels(tmp_path / "mine.csv", lines)
    return labels, write_reports(tmp_path / "out", rows)


def test_every_listed_object_is_accounted_for(archive, tmp_path):
    labels, out = archive
    code, _, told = evaluate(labels, "--reports", out, "--out", tmp_path / "e", "--draws", 50)
    assert code == 1  # one has no row
    accounts = {a["detector"]: a for a in told["accounts"]}
    assert accounts["good"]["outcomes"] == {
        "scored": {"genuine": 29, "manipulated": 18},
        "no_face": {"genuine": 1, "manipulated": 1},
        "not scanned": {"genuine": 0, "manipulated": 1},
    }
    assert accounts["good"]["n_listed"] == accounts["blind"]["n_listed"] == 50
    whole = one(told, detector="good", level="object", by="all", metric="AUC")
    assert (whole["n_genuine"], whole["n_manipulated"]) == (29, 18)
    assert 0.9 < whole["low"] <= whole["value"] <= whole["high"] <= 1
    assert 0.2 < one(told, detector="blind", level="object", by="all", metric="AUC")["value"] < 0.8


def test_slices_hold_what_their_names_say(archive, tmp_path):
    labels, out = archive
    _, _, told = evaluate(labels, "--reports", out, "--out", tmp_path / "e", "--draws", 50)
    good = {"detector": "good", "level": "object", "metric": "AUC"}
    drawn = one(told, **good, by="manipulation", slice="drawn")
    assert (drawn["n_genuine"], drawn["n_manipulated"]) == (29, 9)
    bits = {r["slice"] for r in told["rows"] if r["by"] == "compression"}
    assert bits == {"< 1 bit/px, image", "≥ 4 bit/px, image"}
    parts = [one(told, **good, by="compression", slice=name) for name in bits]
    assert sum(p["n_genuine"] for p in parts) == 29
    constant = one(told, **good, by="baseline", slice="constant 0.5")
    assert (constant["value"], constant["low"], constant["high"]) == (0.5, 0.5, 0.5)


def test_files_hold_the_same_and_the_page_escapes(archive, tmp_path):
    labels, out = archive
    own = tmp_path / "e"
    _, _, told = evaluate(labels, "--reports", out, "--out", own, "--draws", 50)
    assert json.loads((own / "evaluation.json").read_text())["rows"] == told["rows"]
    assert pq.read_table(own / "evaluation.parquet").to_pylist() == told["rows"]
    page = (own / "evaluation.html").read_text()
    assert "<b>swap</b>" not in page and "&lt;b&gt;swap&lt;/b&gt;" in page
    assert "<svg" in page and ">not scanned<" in page
    loaded = re.findall(r"<script|<link|<img|<iframe|\bsrc=|@import|url\((?!#)", page)
    assert not loaded, "the page needs nothing but itself"
    assert """content="default-src 'none'; style-src 'unsafe-inline';""" in page


def test_the_page_is_for_those_who_cannot_see_it_too(archive, tmp_path):
    labels, _ = archive
    rows = [report_row(tmp_path / f"{i}.jpg", 0.5, '"quoted"') for i in range(50)]
    more = write_reports(tmp_path / "quoted", rows)
    evaluate(labels, "--reports", more, "--out", tmp_path / "e", "--draws", 5)
    page = (tmp_path / "e" / "evaluation.html").read_text()
    (picture,) = re.findall(r"<svg[^>]*>", page)
    assert 'role="img"' in picture and "reliability" in picture and "&#34;quoted&#34;" in picture
    assert all('scope="' in head for head in re.findall(r"<th\b[^>]*>", page))
    assert all("tabindex" in box for box in re.findall(r'<div class="scroll"[^>]*>', page))


def test_frames_and_segments_have_their_own_labels(tmp_path):
    rows, lines = [], []
    for i in range(4):
        label = i % 2
        times = np.arange(10) / 10
        inside = (times >= 0.5) & bool(label)
        timeline = [
            # the second face is the one to look at
            {"t_s": float(t), "track": k, "probability": float(0.9 * on * k + 0.05)}
            for t, on in zip(times, inside, strict=True)
            for k in (0, 1)
        ]
        found = [{"track": 1, "start_s": 0.5, "end_s": 1.0, "probability": 0.9}] * label
        more = {"media": "video", "duration_s": 1.0, "fps": 10.0}
        uri = tmp_path / f"{i}.mp4"
        rows.append(report_row(uri, 0.3, timeline=timeline, segments=found, **more))
        lines.append(f"{i}.mp4,{label},g{i},m,{'[[0.5; 1.0]]' if label else ''}".replace(";", ","))
    lines = [s.replace("[[0.5, 1.0]]", '"[[0.5, 1.0]]"') for s in lines]
    labels = write_labels(tmp_path / "timed.csv", lines)
    out = write_reports(tmp_path / "out", rows)
    code, _, told = evaluate(labels, "--reports", out, "--out", tmp_path / "e", "--draws", 20)
    assert code == 0
    frames = one(told, level="frame", metric="AUC")
    assert (frames["n_genuine"], frames["n_manipulated"], frames["value"]) == (30, 10, 1)
    assert one(told, level="object", by="all", metric="AUC")["value"] == 0.5
    mean = one(told, level="object", slice="mean of frames", metric="AUC")
    assert mean["value"] == 1
    better = one(told, slice="mean of frames", metric="AUC of ours minus this")
    assert better["value"] == -0.5
    for metric in ("AP@0.5", "AP@0.95", "AR@10"):
        assert one(told, level="segment", metric=metric)["value"] == 1


def test_one_class_gives_nulls_and_its_rate(tmp_path):
    rows = [report_row(tmp_path / f"{i}.jpg", i / 10) for i in range(10)]
    labels = write_labels(tmp_path / "g.csv", [f"{i}.jpg,0,,," for i in range(10)])
    out = write_reports(tmp_path / "out", rows)
    code, _, told = evaluate(labels, "--reports", out, "--out", tmp_path / "e", "--draws", 20)
    assert code == 0
    assert one(told, level="object", by="all", metric="AUC")["value"] is None
    assert one(told, level="object", by="all", metric="false alarms")["value"] == 0.5
    assert told["plots"] == [] and not (tmp_path / "e" / "roc.png").exists()


@pytest.mark.parametrize("probability", [None, float("nan"), 1.5])
def test_a_scored_row_without_a_probability_is_refused(tmp_path, probability):
    labels = write_labels(tmp_path / "l.csv", ["a.jpg,0,,,", "b.jpg,1,,,"])
    rows = [report_row(tmp_path / f"{n}.jpg", 0.5) for n in "ab"]
    out = write_reports(tmp_path / "out", [rows[0], rows[1] | {"probability": probability}])
    code, told, _ = evaluate(labels, "--reports", out, "--out", tmp_path / "e")
    assert (code, f"call {tmp_path}/b.jpg scored with" in told) == (2, True), told


def test_of_reports_the_named_detectors_alone_are_judged(tmp_path):
    labels = write_labels(tmp_path / "l.csv", ["a.jpg,0,,,", "b.jpg,1,,,"])
    detector, other = (tmp_path / name for name in ("ours", "theirs"))
    for version, folder in enumerate((detector, other), start=1):
        metric = Metric(name="AUC", data="kept apart", value=0.625, n=9, command="dfd train")
        card = ModelCard(name="toy", version=str(version), description="", metrics=(metric,))
        checkpoints.save(folder, card, {"encoder.bias": np.full(3, version, np.float32)})
    mark = checkpoints.detector_id(checkpoints.load_card(str(detector)), *Settings().judging)
    rows = [report_row(tmp_path / f"{n}.jpg", 0.5) for n in "ab"]
    rows += [row | {"detector_id": mark, "detector": "toy 1"} for row in rows]
    words = ("--reports", write_reports(tmp_path / "out", rows), "--draws", 5)
    words = (labels, *words, "--out", tmp_path / "e", "--checkpoint")
    code, said, told = evaluate(*words, detector)
    assert code == 0, said
    assert [d["detector_id"] for d in told["detectors"]] == [mark]
    assert told["cards"] == [{"metric": "AUC", "data": "kept apart", "values": {"toy 1": 0.625}}]
    page = (tmp_path / "e" / "evaluation.html").read_text()
    assert "kept apart" in page and "0.625" in page
    code, said, _ = evaluate(*words, detector, "--checkpoint", other)
    assert code == 2 and "hold no verdict of toy 2" in said
    assert f"those of a (id-of-a), toy 1 ({mark})." in said


def test_without_a_threshold_there_is_no_rate_at_it(tmp_path):
    labels = write_labels(tmp_path / "l.csv", ["a.jpg,0,,,", "b.jpg,1,,,"])
    rows = [report_row(tmp_path / f"{n}.jpg", 0.5, threshold=None) for n in "ab"]
    words = ("--reports", write_reports(tmp_path / "out", rows), "--draws", 5)
    code, _, told = evaluate(labels, *words, "--out", tmp_path / "e")
    assert code == 0
    assert not {"false alarms", "detected"} & {r["metric"] for r in told["rows"]}


def test_a_picture_shows_each_detector(archive, tmp_path):
    labels, out = archive
    _, _, told = evaluate(labels, labels, "--reports", out, "--out", tmp_path / "e", "--draws", 20)
    assert [t["name"] for t in told["tests"]] == ["mine", "mine (2)"]
    assert {(p["detector"], p["test"]) for p in told["plots"]} == {
        (d, t) for d in ("good", "blind") for t in ("mine", "mine (2)")
    }
    page = (tmp_path / "e" / "evaluation.html").read_text()
    assert page.count("<svg") == 2


def test_pictures_take_names_as_they_are(tmp_path):
    labels = write_labels(tmp_path / "$l$.csv", ["a.jpg,0,,,", "b.jpg,1,,,"])
    names = (r"a$\no{$b", "$x^2$")
    rows = [report_row(tmp_path / f"{n}.jpg", 0.5, name) for n in "ab" for name in names]
    out = write_reports(tmp_path / "out", rows)
    code, said, _ = evaluate(labels, "--reports", out, "--out", tmp_path / "e", "--draws", 5)
    assert code == 0, said
    (drawn,) = re.findall("<svg.*</svg>", (tmp_path / "e" / "evaluation.html").read_text(), re.S)
    assert all(name in drawn for name in names)


def test_names_that_are_no_text_are_written_all_the_same(tmp_path, monkeypatch):
    root = tmp_path / os.fsdecode(b"f\xff")
    root.mkdir()
    rows, lines = [], []
    for i in range(8):
        rows.append(report_row(local_uri(root / f"{i}.jpg"), 0.1 * i, "good"))
        label = int(i >= 4)
        lines.append({"file": f"{i}.jpg", "label": label, "method": "\udcff", "camera": "\udcfe"})
    labels = root / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, lines)))
    out = write_reports(tmp_path / "out", rows)
    monkeypatch.setattr(sys, "argv", ["dfd", "evaluate", str(labels)])
    code, _, told = evaluate(
        labels, "--reports", out, "--out", tmp_path / "e", "--draws", 9, "--by", "camera"
    )
    assert code == 0
    assert {r["slice"] for r in told["rows"] if r["by"] == "manipulation"} == {"?"}
    assert "evaluate" in (tmp_path / "e" / "evaluation.html").read_text(encoding="utf-8")


def test_the_drawn_roc_has_the_area_that_is_told(tmp_path, monkeypatch):
    """Equal scores count half, so their stretch of the curve is a slope and no step."""
    drawn, plot_line = [], Axes.plot

    def plot_noted(axis, *xy, **look):
        if look.get("drawstyle", "default") == "default":  # steps are lines, too
            drawn.append(xy)
        return plot_line(axis, *xy, **look)

    monkeypatch.setattr(Axes, "plot", plot_noted)
    labels = write_labels(tmp_path / "l.csv", [f"{i}.jpg,{i % 2},,," for i in range(8)])
    rows = [report_row(tmp_path / f"{i}.jpg", 0.9 if i == 1 else 0.5) for i in range(8)]
    out = write_reports(tmp_path / "out", rows)
    _, _, told = evaluate(labels, "--reports", out, "--out", tmp_path / "e", "--draws", 5)
    (plot,) = told["plots"]
    assert tuple(plot["roc"]) in drawn
    auc = one(told, level="object", by="all", metric="AUC")["value"]
    assert np.trapezoid(plot["roc"][1], plot["roc"][0]) == pytest.approx(auc)


def test_lists_of_one_name_are_told_apart_whatever_it_is(archive, tmp_path):
    labels, out = archive
    names = ("mine (2).csv", "mine.csv", "mine.csv", "mine (2).csv")
    copies = [tmp_path / str(i) / name for i, name in enumerate(names)]
    for copy in copies:
        copy.parent.mkdir()
        text = labels.read_text().replace("\n", f"\n{tmp_path}/")
        copy.write_text(text.removesuffix(f"{tmp_path}/"))
    _, _, told = evaluate(*copies, "--reports", out, "--out", tmp_path / "e", "--draws", 5)
    expected = ["mine (2)", "mine", "mine (3)", "mine (2) (2)"]
    assert [t["name"] for t in told["tests"]] == expected


def test_media_of_training_are_not_judged_in_silence(tmp_path):
    root = tmp_path / "set"
    rows = []
    for split in ("train", "val", "test"):
        for i, kind in enumerate(("real", "fake")):
            medium = root / split / kind / f"{split}.jpg"
            medium.parent.mkdir(parents=True)
            medium.touch()
            rows.append(report_row(medium, 0.2 + 0.6 * i))
    words = ("--reports", write_reports(tmp_path / "out", rows), "--draws", 5)
    code, said, told = evaluate(root, *words, "--out", tmp_path / "e")
    assert code == 0, said
    (note,) = [note for note in told["notes"] if "trained on flatter" in note]
    assert "set holds media of the splits train (2), val (2), test (2)" in note
    assert f"note {note}" in said
    assert note in (tmp_path / "e" / "evaluation.html").read_text()
    assert told["tests"][0]["splits"] == {"train": 2, "val": 2, "test": 2}
    for split, flatters in (("test", False), ("train", True)):
        _, said, told = evaluate(root, *words, "--out", tmp_path / split, "--split", split)
        assert told["accounts"][0]["n_listed"] == 2
        assert any("flatter" in note for note in told["notes"]) == ("flatter" in said) == flatters


def test_curves_lie_beside_the_page_as_files(archive, tmp_path):
    labels, out = archive
    own = tmp_path / "e"
    words = ("--reports", out, "--draws", 20)
    _, said, _ = evaluate(labels, "--out", own, *words)
    _, _, _ = evaluate(labels, labels, "--out", tmp_path / "two", *words)
    for name in ("roc.png", "reliability.png"):
        assert f"written {own / name}" in said
        one, two = (cv2.imread(str(folder / name)) for folder in (own, tmp_path / "two"))
        assert one.std() > 0 and two.shape[1] == 2 * one.shape[1]  # a panel for each test set


def test_what_a_scan_is_to_select_leaves_no_labelled_object_out(tmp_path, monkeypatch):
    labels = write_labels(tmp_path / "l.csv", ["a.jpg,0,,,", "b.jpg,1,,,"])
    (tmp_path / "dfd.toml").write_text('[select]\nexclude = ["a*"]\nmin_size_bytes = 9\n')
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"tiny")
    monkeypatch.chdir(tmp_path)

    def scan(source, out, settings, **_):
        raise UsageError(f"{pipeline.make_plan(source, out, settings).n_listed} of them.")

    monkeypatch.setattr(pipeline, "scan", scan)
    code, told, _ = evaluate(labels, "--out", tmp_path / "e")
    assert (code, "2 of them" in told) == (2, True)


@pytest.mark.parametrize(
    ("lines", "words", "says"),
    [
        (["a.jpg,2,,,"], [], "record 1: label '2' is none of"),
        (["a.jpg,0,,,", "a.jpg,1,,,"], [], "both genuine and manipulated"),
        ([",0,,,"], [], "record 1: it names no file"),
        (['a.jpg,1,,,"[[2, 1]]"'], [], "`segments` are not [[start, end], …] in seconds: [[2, 1]]"),
        (['a.jpg,1,,,"[1, 2]"'], [], "record 1: `segments` are not [[start, end], …] in seconds"),
        (["a.jpg,1,,,5"], [], "record 1: `segments` are not [[start, end], …] in seconds: 5."),
        (["a.jpg,1,,,1-2"], [], "record 1: `segments` are not [[start, end], …] in seconds: 1-2."),
        (['a.jpg,0,,,"[[1, 2]]"'], [], "record 1: `segments` are manipulated stretches, but"),
        (["a.jpg,0,,,"], ["--split", "dev"], "holds nothing of split 'dev'; its splits: none"),
        (["a.jpg,0,,,"], ["--by", "colour"], "no column 'colour'"),
        (["a.jpg,0,,,"], [], "hold no verdict on any of the labelled media"),
    ],
)
def test_errors_are_one_sentence(tmp_path, lines, words, says):
    labels = write_labels(tmp_path / "l.csv", lines)
    out = tmp_path / "out"
    code, told, _ = evaluate(labels, "--reports", out, "--out", tmp_path / "e", *words)
    assert code == 2
    assert says in told and "Traceback" not in told


def test_lists_without_the_columns_or_content(tmp_path):
    (tmp_path / "l.csv").write_text("name,label\na,0\n")
    code, told, _ = evaluate(tmp_path / "l.csv", "--out", tmp_path / "e")
    assert code == 2 and "no column `uri or file or path`; it has name, label" in told
    (tmp_path / "l.parquet").write_bytes(b"nothing of the kind")
    code, told, _ = evaluate(tmp_path / "l.parquet", "--out", tmp_path / "e")
    assert code == 2 and "cannot be read as a list of labels" in told
    code, told, _ = evaluate("--out", tmp_path / "e")
    assert code == 2 and "Give labelled media to test on" in told
