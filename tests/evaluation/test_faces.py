from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from dfd_batch import pipeline
from dfd_batch.evaluation import attacks, operations, robustness
from dfd_batch.evaluation.crops import Faces, labelled_faces
from dfd_batch.training import pools
from dfd_batch.training.config import CLIP_FRAMES
from dfd_batch.training.pools import Face
from tests.e2e.detector import write_detector
from tests.evaluation.conftest import evaluate, report_row, write_pool, write_reports
from tests.training.conftest import face_image, swapped, template

SIZE = 64


class Checkerboard:
    """A judge that finds a faint checkerboard, and remembers the crops of each question."""

    crop_size = SIZE
    pattern = np.indices((SIZE, SIZE)).sum(0)[..., None] % 2 * 2 - 1

    def __init__(self):
        self.seen = []

    def __call__(self, objects, media="image"):
        self.seen.append(np.stack(objects))
        return np.array([abs((o[0] * self.pattern).mean()) for o in objects]) / 255


def checkered(n):
    """Smooth pictures, every other one with the checkerboard."""
    ramp = np.linspace(60, 180, SIZE)[None, :, None]
    made = [
        ramp + np.arange(3) * 5 + i / 2 + 2 * (i % 2) * Checkerboard.pattern for i in range(2 * n)
    ]
    labels = np.tile([0, 1], n)
    return Faces(np.array(made).astype(np.uint8), labels, [str(i // 2) for i in range(2 * n)])


def test_faces_are_cut_evenly_of_both_classes(pool):
    faces = labelled_faces("toys", pools.read(pool), SIZE, 5)
    assert faces.crops.shape == (10, SIZE, SIZE, 3)
    assert faces.labels.sum() == 5
    assert len(set(faces.groups)) > 5


def test_curves_begin_at_what_is_and_fall_as_crops_get_worse():
    judge = Checkerboard()
    found = {c.name: c for c in robustness.curves(judge, checkered(10), "d", n_draws=20)}
    changes = ["as it is", "JPEG", "H.264", "resize", "blur", "noise", "sharpening", "smooth skin"]
    assert list(found) == changes
    values = {name: [p.auc.value for p in c.points] for name, c in found.items()}
    assert values["as it is"] == [1]
    assert values["resize"][0] == values["blur"][0] == values["noise"][0] == 1
    traces = iter([Checkerboard()(list(seen))[1::2].mean() for seen in judge.seen])
    left = {name: [next(traces) for _ in c.points] for name, c in found.items()}
    for name in ("JPEG", "H.264", "resize", "blur"):
        assert left[name][-1] < left["as it is"][0] / 2, name
    assert [p.x for p in found["JPEG"].points] == [95, 75, 50, 30]
    assert len(judge.seen) == sum(len(c.points) for c in found.values())
    seen = iter(judge.seen)
    last = {name: [next(seen) for _ in c.points][-1].astype(float) for name, c in found.items()}
    assert 15 < (last["noise"] - last["as it is"]).std() < 25
    spread = {name: crops.std() for name, crops in last.items()}
    assert spread["smooth skin"] < spread["as it is"] < spread["sharpening"]
    assert all(p.n == 20 and p.auc.low <= p.auc.high for c in found.values() for p in c.points)


def test_pairs_are_the_same_for_every_detector(pool):
    first, again = (list(operations.pairs(pool, pools.read(pool), SIZE, 6)) for _ in range(2))
    names = [p.operation for p in first]
    assert names[:4] == ["self", "swap", "rendered", "polished"]  # nothing is redrawn in this pool
    assert "static" in names[4:]
    for one, other in zip(first, again, strict=True):
        assert len(one.objects) == len(one.labels) == len(one.groups)
        assert one.labels.tolist() == [0, 1] * (len(one.objects) // 2)
        assert all(np.array_equal(a, b) for a, b in zip(one.objects, other.objects, strict=True))
        for genuine, fake in zip(one.objects[::2], one.objects[1::2], strict=True):
            assert genuine.shape == fake.shape == (len(genuine), SIZE, SIZE, 3)
            assert not np.array_equal(genuine, fake)
    assert {len(p.objects[0]) for p in first if p.media == "video"} == {CLIP_FRAMES}


def test_labelled_fakes_are_laid_into_their_twins_anew(tmp_path):
    rng, points, faces = np.random.default_rng(0), template() * 96, []
    for number in range(8):
        genuine = face_image(96, rng)
        faces += [
            Face(image, points, 80.0, f"{number}-{label}", label, str(number))
            for label, image in enumerate((genuine, swapped(genuine)))
        ]
    pools.write(tmp_path / "pools" / "dfdc_dev", faces)
    directory = tmp_path / "pools" / "dfdc_dev"
    made = {p.operation: p for p in operations.pairs(directory, pools.read(directory), SIZE, 6)}
    assert 6 <= len(made["reblended"].objects) <= 12
    pairs = zip(made["reblended"].objects[::2], made["reblended"].objects[1::2], strict=True)
    assert not any(np.array_equal(genuine, fake) for genuine, fake in pairs)


def test_a_pool_is_judged_by_what_training_leaves_out_of_it(tmp_path):
    work = tmp_path / "work" / "pools"
    # by its split all of each was trained on, were it not for what their names say
    names = [f"--faces={write_pool(work / name, 'train')}" for name in ("dfdc", "dfdc_dev", "my")]
    detector, out = write_detector(tmp_path / "detector"), tmp_path / "e"
    words = ("--checkpoint", detector, "--out", out, "--draws", 10, "--most-faces", 6)
    code, said, told = evaluate(*names, *words)
    assert code == 0, said
    whole = [r for r in told["rows"] if r["level"] == "face" and r["by"] == "all"]
    assert {(r["test"], r["n_genuine"], r["n_manipulated"]) for r in whole} == {("dfdc_dev", 6, 6)}
    assert {c["test"] for c in told["curves"]} == {"dfdc_dev"}
    assert {r["test"] for r in told["rows"] if r["by"] == "operation"} == {"dfdc_dev"}
    for name in ("dfdc", "my"):
        note = f"No curves on {name}: training leaves out none of its genuine or manipulated faces."
        assert note in told["notes"] and note in said
        assert note in (out / "evaluation.html").read_text()


def test_pools_of_one_name_are_told_apart(tmp_path):
    ours, theirs = (tmp_path / work / "pools" / "dfdc_dev" for work in "ab")
    for pool in (ours, theirs):
        write_pool(pool, "train")
    detector, out = write_detector(tmp_path / "detector"), tmp_path / "e"
    words = ("--checkpoint", detector, "--out", out, "--draws", 10, "--most-faces", 6)
    code, said, told = evaluate(f"--faces={ours}", f"--faces={theirs}", *words)
    assert code == 0, said
    names = ["dfdc_dev", "dfdc_dev (2)"]
    assert told["pools"] == [
        {"name": name, "source": str(pool)}
        for name, pool in zip(names, (ours, theirs), strict=True)
    ]
    each = [(r["detector"], r["test"], r["level"], r["by"], r["slice"], r["metric"])
            for r in told["rows"]]  # fmt: skip
    assert len(set(each)) == len(each)
    assert pq.read_table(out / "evaluation.parquet").to_pylist() == told["rows"]
    first, second = (
        [r | {"test": ""} for r in told["rows"] if r["test"] == name] for name in names
    )
    # the name that training knows decides what is measured
    assert first == second and any(r["by"] == "operation" for r in first)
    assert [c["test"] for c in told["curves"]] == [n for n in names for _ in told["curves"][::2]]
    page = (out / "evaluation.html").read_text()
    assert all(page.count(f"<h2>Faces of {name}</h2>") == 1 for name in names)
    note = f"dfdc_dev (2) are the faces of {theirs}: another pool is called dfdc_dev, too."
    assert note in told["notes"] and note in said and note in page


def test_a_pool_has_its_name_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(write_pool(tmp_path / "pools" / "dfdc", "test"))
    detector = write_detector(tmp_path / "detector")
    code, said, told = evaluate("--faces=.", "--checkpoint", detector, "--out", tmp_path / "e")
    assert code == 0 and "No curves on dfdc: training leaves out none" in said
    assert told["rows"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--faces", "{pool}", "--quick"], "--quick leaves out all that --faces is for"),
        (["l.csv", "--faces", "{pool}", "--quick"], "--quick leaves out all that --faces is for"),
        (["l.csv", "--reports", "out", "--faces", "{pool}", "--attacks"], "without --reports."),
        (["l.csv", "--attacks"], "--attacks needs faces to attack: name a prepared pool"),
        (["l.csv", "--reports", "out", "--attacks"], "--attacks needs faces to attack"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(pool, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.csv").write_text("file,label\na.jpg,0\nb.jpg,1\n")
    write_reports(tmp_path / "out", [report_row(tmp_path / f"{n}.jpg", 0.5) for n in "ab"])
    # nothing is scanned for the sake of it
    monkeypatch.setattr(pipeline, "scan", lambda *_, **__: pytest.fail("a scan began"))
    code, told, _ = evaluate(*(word.format(pool=pool) for word in words), "--out", "e")
    assert (code, says in told) == (2, True), told
    assert not (tmp_path / "e").exists()


def test_attacked_figures_have_intervals_over_the_groups(tmp_path):
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 255, (12, 96, 96, 3), np.uint8)
    faces = Faces(crops, np.tile([0, 1], 6).astype(np.int32), [str(i // 2) for i in range(12)])
    curves, others = attacks.curves(write_detector(tmp_path), faces, "d", n_draws=50)
    points = [point for curve in curves for point in curve.points]
    assert {"FGSM", "FGSM, JPEG 75", "FGSM, 8 random views"} < {curve.name for curve in curves}
    assert {"C&W L2", "C&W L2, H.264 CRF 23"} < set(others)
    for found in [*(point.auc for point in points), *others.values()]:
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert any(point.auc.low < point.auc.high for point in points)
