"""Samples to pools on real media, by the scan's own stages and a real Ray."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import ray
from typer.testing import CliRunner

from dfd_batch.catalog.objects import of_file
from dfd_batch.checkpoint import Checkpoint, ModelCard, Preprocessing
from dfd_batch.cli import app
from dfd_batch.faces.crop import Square, cut
from dfd_batch.outcomes import UsageError
from dfd_batch.schema import MANIFEST
from dfd_batch.settings import Coverage, Sampling, Settings
from dfd_batch.stages import Crop, RunContext
from dfd_batch.training import ingest, patches, pools, prepare, sources
from dfd_batch.training.landmarks import MEAN_FIVE, MEAN_SHAPE, fit_mean_shape
from dfd_batch.training.patches import Patches, PatchPlan
from dfd_batch.training.prepare import PATCH_PX
from dfd_batch.training.selection import training_pools
from dfd_batch.training.sources import LabelledBox, Sample
from tests.faults.scenes import scene
from tests.media import write_video
from tests.training.sources.trees import TREES

SETTINGS = Settings(sampling=Sampling(coverage=Coverage.QUICK, quick_clips=1, frames_per_clip=4))
MARGIN = Preprocessing().margin
FACES = {"astronaut": 110, "hopper": 160}


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A genuine video, a fake one with two people, a turned picture with a small face, junk."""
    root = tmp_path_factory.mktemp("set")
    for folder in ("train/real", "train/fake", "val/real"):
        (root / folder).mkdir(parents=True)
    write_video(root / "train/real/a.mp4", scene(6, 640, 360, {"astronaut": 110}))
    write_video(root / "train/fake/a.mp4", scene(6, 640, 360, FACES))
    small = scene(1, 640, 480, {"hopper": 60})[0]
    cv2.imwrite(str(root / "val/real/b.png"), np.rot90(small)[..., ::-1])
    (root / "train/real/broken.mp4").write_bytes(b"junk" * 500)
    return root


@pytest.fixture(scope="module")
def stage() -> Patches:
    return Patches(PatchPlan(SETTINGS, MARGIN, None, Path("unused"), 1, ()))


def sample(media: Path, name: str, **changes) -> Sample:
    label = int("fake" in name)
    made = Sample(str(media / name), label, "g", "swap" * label, "train", licence="mine")
    return replace(made, **changes)


def test_a_genuine_video_gives_consecutive_frames_of_its_face(media, stage) -> None:
    faces, outcome = stage.prepare(sample(media, "train/real/a.mp4"))
    assert outcome == patches.PREPARED
    assert [face.frame for face in faces] == [0, 1, 2, 3]
    face = faces[0]
    assert face.patch.shape == (PATCH_PX, PATCH_PX, 3) and face.landmarks.shape == (68, 2)
    assert (face.label, face.group, face.split, face.licence) == (0, "g", "train", "mine")
    # The face keeps the size that it has in the video: 110 px, of which the crop holds a margin.
    assert 100 < face.canonical_px < 130
    assert len({face.canonical_px for face in faces}) == 1
    inside = face.landmarks / PATCH_PX - 0.5
    assert abs(inside).max() < 0.6 * face.canonical_px / PATCH_PX
    eyes, mouth = face.landmarks[36:48].mean(0), face.landmarks[48:].mean(0)
    assert abs(eyes[0] - mouth[0]) < 8 and 20 < mouth[1] - eyes[1] < 70


@pytest.mark.parametrize("name", ["train/real/a.mp4", "val/real/b.png"])
def test_the_middle_of_a_patch_is_the_crop_that_a_scan_would_cut(media, stage, name) -> None:
    (face, *_), _ = stage.prepare(sample(media, name))
    middle = PATCH_PX / 2
    ours = cut(np.array(face.patch), Square(middle, middle, face.canonical_px), 192)
    card = ModelCard(name="", version="", description="", preprocessing=Preprocessing())
    crop = Crop(RunContext(SETTINGS, "", "", "", date.min, Checkpoint(card, {})))
    manifest = {**asdict(of_file(media / name)), "attempt": 1}
    row = crop(pa.Table.from_pylist([manifest], schema=MANIFEST)).to_pylist()[0]
    theirs = np.frombuffer(row["crops"], np.uint8).reshape(-1, 192, 192, 3)[0]
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


def test_of_a_fake_the_largest_face_alone_is_taken_for_fake(media, stage) -> None:
    faces, _ = stage.prepare(sample(media, "train/fake/a.mp4"))
    assert [face.frame for face in faces] == [0, 1, 2, 3]
    assert {face.label for face in faces} == {1} and {face.method for face in faces} == {"swap"}
    both, _ = stage.prepare(sample(media, "train/fake/a.mp4", label=0))
    assert len(both) == 8 and len({face.file for face in both}) == 2
    assert [face.frame for face in both] == [0, 1, 2, 3] * 2
    other = {face.file: face.canonical_px for face in both}
    assert faces[0].canonical_px == max(other.values())


def test_labels_face_by_face_go_to_the_faces_in_their_boxes(media, stage) -> None:
    x, y = 640 / 3, 144  # where `scene` puts the astronaut's face, 110 px high
    here = LabelledBox((x - 40, y - 55, x + 40, y + 55), 1)
    nowhere = LabelledBox((600, 300, 640, 360), 0)
    faces, outcome = stage.prepare(sample(media, "train/fake/a.mp4", faces=(nowhere, here)))
    assert outcome == patches.PREPARED and {face.label for face in faces} == {1}
    assert all(face.canonical_px < 130 for face in faces)  # not the other, larger one
    faces, outcome = stage.prepare(sample(media, "train/fake/a.mp4", faces=(nowhere,)))
    assert (faces, outcome) == ([], patches.NO_LABELLED_FACE)


def test_frames_outside_of_the_manipulated_interval_are_genuine(media, stage) -> None:
    faces, _ = stage.prepare(sample(media, "train/fake/a.mp4", segments=((0.08, 5.0),)))
    assert [face.label for face in faces] == [0, 0, 1, 1]  # 25 frames a second
    assert [face.method for face in faces] == ["", "", "swap", "swap"]


def test_a_turned_small_face_stands_upright_at_its_own_size(media, stage) -> None:
    (face,), _ = stage.prepare(sample(media, "val/real/b.png"))
    assert 48 <= face.canonical_px < 75 and face.frame == 0
    assert face.landmarks[48:, 1].mean() > face.landmarks[36:48, 1].mean() + 10


@pytest.mark.parametrize("name", ["train/real/broken.mp4", "not/there.mp4"])
def test_a_bad_medium_is_an_outcome(media, stage, name) -> None:
    assert stage.prepare(sample(media, name)) == (
        [],
        {"train/real/broken.mp4": "unsupported", "not/there.mp4": "missing"}[name],
    )


def test_crops_of_others_are_taken_whole(tmp_path, stage) -> None:
    TREES["wilddeepfake"](tmp_path)
    found = {s.uri.rpartition("#")[2]: s for s in sources.read(str(tmp_path)).samples}
    faces, outcome = stage.prepare(found["1/real/0"])
    assert outcome == patches.PREPARED
    assert [(face.frame, face.canonical_px) for face in faces] == [(3, 64), (20, 64)]
    gone = replace(found["1/real/0"], uri=str(tmp_path / "real_test/9.tar.gz") + "#9/real/0")
    assert stage.prepare(gone) == ([], "unreadable")


def test_the_mean_face_follows_shift_size_and_turn() -> None:
    turn = np.array([[0, -1], [1, 0]], np.float32)
    placed = fit_mean_shape((MEAN_FIVE * 80 + 7) @ turn)
    np.testing.assert_allclose(placed, (MEAN_SHAPE * 80 + 7) @ turn, atol=1e-3)


def in_process(monkeypatch, stage_of: list[list[int]]) -> None:
    """Replace Ray by this process, and note which chunks are worked on."""

    def made(plan, chunks):
        stage_of.append(chunks)
        worker = Patches(plan)
        for chunk in chunks:
            yield worker(pa.table({"chunk": [chunk]})).column("outcome").to_pylist()

    monkeypatch.setattr(ingest, "_made", made)
    monkeypatch.setattr(ingest, "start_ray", lambda _: False)
    monkeypatch.setattr(ingest.ray, "put", lambda value: value)


def test_a_killed_preparation_goes_on_and_a_finished_one_is_left_alone(
    media, tmp_path, monkeypatch
) -> None:
    chunks: list[list[int]] = []
    in_process(monkeypatch, chunks)
    names = ["train/real/broken.mp4", "val/real/b.png", "gone.mp4"]
    given = [sample(media, name) for name in names]

    def prepare(**changes):
        given_settings = SETTINGS.model_copy(update=changes)
        return ingest.ingest(
            given, tmp_path, "mine", Preprocessing(), given_settings, on_progress=stop
        )

    def stop(n_total: int, n_done: int, outcomes) -> None:
        assert n_total == 3
        if n_done == 2 and len(chunks) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare()
    assert not list((tmp_path / "pools").glob("*/index.parquet"))
    made = prepare()
    assert chunks == [[0, 1, 2], [2]]
    assert made.outcomes == {"unsupported": 1, "prepared": 1, "missing": 1}
    pool = pools.read(made.directory)
    assert made.n_faces == len(pool) == 1
    assert pool.files == [str(media / "val/real/b.png")] and pool.splits == ["train"]
    assert not list((tmp_path / "shards").iterdir())
    assert prepare() == made and len(chunks) == 2
    with pytest.raises(UsageError, match=r"pools/mine holds a pool of other samples or settings"):
        prepare(sampling=Sampling(frames_per_clip=5))


def losing(monkeypatch, lost: dict[str, str]) -> list[str]:
    """Let samples end as told, by the end of their URI, and note those that are prepared."""
    tried: list[str] = []
    whole = Patches.prepare

    def prepare(self: Patches, sample: Sample):
        name = sample.uri.rpartition("/")[2]
        tried.append(name)
        return ([], lost[name]) if name in lost else whole(self, sample)

    monkeypatch.setattr(Patches, "prepare", prepare)
    return tried


@pytest.mark.parametrize("outcome", ["timeout", "crashed", "throttled"])
def test_what_was_lost_in_passing_is_tried_again_by_the_next_starts(
    media, tmp_path, monkeypatch, outcome
) -> None:
    in_process(monkeypatch, [])
    lost = {"a.mp4": outcome, "c.png": outcome}
    tried = losing(monkeypatch, lost)
    names = ["train/real/a.mp4", "val/real/b.png", "train/real/broken.mp4", "c.png"]
    given = [sample(media, name) for name in names]

    def prepare():
        del tried[:]
        return ingest.ingest(given, tmp_path, "mine", Preprocessing(), SETTINGS)

    made = prepare()
    assert made.outcomes == {outcome: 2, "prepared": 1, "unsupported": 1}
    assert made.lost == (0, 3) and made.n_faces == 1
    beside = made.directory / "redrawn.u8"
    beside.touch()
    assert prepare() == made and tried == ["a.mp4", "c.png"]
    assert beside.exists()  # no face has joined the pool
    del lost["a.mp4"]
    made = prepare()
    assert tried == ["a.mp4", "c.png"] and made.lost == (3,)
    assert made.outcomes == {outcome: 1, "prepared": 2, "unsupported": 1}
    pool = pools.read(made.directory)
    assert made.n_faces == len(pool) == 5 and not beside.exists()
    assert pool.files == [str(media / "val/real/b.png")] + [str(media / "train/real/a.mp4")] * 4
    assert np.asarray(pool.patches[1:]).any() and pool.patches.shape[0] == 5
    del lost["c.png"]  # it is gone in the meantime
    made = prepare()
    assert tried == ["c.png"] and not made.lost
    assert made.outcomes == {"prepared": 2, "unsupported": 1, "missing": 1}
    assert prepare() == made and not tried
    assert not list((tmp_path / "shards").iterdir())
    assert [path.name for path in (tmp_path / "pools").iterdir()] == ["mine"]


def test_a_killed_second_try_goes_on_and_leaves_the_pool(media, tmp_path, monkeypatch) -> None:
    chunks: list[list[int]] = []
    in_process(monkeypatch, chunks)
    lost = {"a.mp4": "crashed", "c.png": "crashed"}
    losing(monkeypatch, lost)
    given = [sample(media, name) for name in ("train/real/a.mp4", "val/real/b.png", "c.png")]

    def prepare(on_progress=None):
        settings = {"on_progress": on_progress}
        return ingest.ingest(given, tmp_path, "mine", Preprocessing(), SETTINGS, **settings)

    def stop(n_total: int, n_done: int, outcomes) -> None:
        raise KeyboardInterrupt

    made = prepare()
    lost.clear()
    with pytest.raises(KeyboardInterrupt):
        prepare(stop)
    assert len(pools.read(made.directory)) == 1
    made = prepare()
    assert chunks == [[0, 1, 2], [0, 1], [1]]
    assert made.n_faces == len(pools.read(made.directory)) == 5


def test_the_command_says_what_was_lost_in_passing(media, tmp_path, monkeypatch) -> None:
    in_process(monkeypatch, [])
    lost = {"b.png": "timeout"}
    losing(monkeypatch, lost)
    arguments = ["prepare", str(media), "--work", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "lost      1 samples in passing; run the same command again" in done.output
    lost.clear()
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "in passing" not in done.output
    assert "3 prepared" in done.output


def test_samples_without_any_face_are_a_usage_error_and_tried_again(
    media, tmp_path, monkeypatch
) -> None:
    chunks: list[list[int]] = []
    in_process(monkeypatch, chunks)
    given = [sample(media, "gone.mp4")]
    for _ in range(2):
        with pytest.raises(UsageError, match="No face could be prepared of 1 samples: 1 missing"):
            ingest.ingest(given, tmp_path, "mine", Preprocessing(), SETTINGS)
    assert chunks == [[0], [0]]


@pytest.mark.parametrize("name", ["../up", "", "dfdc", "looks", "a/b"])
def test_a_name_that_is_none_is_refused(media, tmp_path, name) -> None:
    with pytest.raises(UsageError, match="--name"):
        ingest.ingest([sample(media, "x")], tmp_path, name, Preprocessing(), SETTINGS)


def test_pools_of_earlier_versions_are_read(tmp_path) -> None:
    import pyarrow.parquet as pq

    face = pools.Face(np.zeros((8, 8, 3), np.uint8), np.zeros((68, 2), np.float32), 8, "f", 0, "g")
    pools.write(tmp_path, [face])
    path = tmp_path / "index.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["split", "pair"]), path)
    pool = pools.read(tmp_path)
    assert pool.splits == pool.pairs == [""]
    assert len(pool.rows(0, False)) + len(pool.rows(0, True)) == 1


def test_a_data_sets_own_split_decides_what_is_held_out(tmp_path) -> None:
    blank = pools.Face(np.zeros((8, 8, 3), np.uint8), np.zeros((68, 2), np.float32), 8, "f", 0, "")
    splits = ["train", "val", "test"] * 20
    faces = [replace(blank, group=str(i), split=split) for i, split in enumerate(splits)]
    pools.write(tmp_path, faces)
    pool = pools.read(tmp_path)
    assert {pool.splits[i] for i in pool.rows(0, held_out=False)} == {"train"}
    assert {pool.splits[i] for i in pool.rows(0, held_out=True)} == {"val", "test"}


@pytest.mark.slow
def test_the_command_prepares_a_folder_of_real_and_fake_by_ray(media, tmp_path) -> None:
    root = tmp_path / "set"
    shutil.copytree(media, root)
    ray.init(address="local", num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1")
    try:
        arguments = [
            "prepare",
            root,
            "--work",
            tmp_path / "work",
            "--frames",
            "4",
            "--crop-actors",
            "1",
        ]
        done = CliRunner().invoke(app, [*map(str, arguments), "--licence", "CC0"])
    finally:
        ray.shutdown()
    assert done.exit_code == 0, done.output
    assert "real-fake in" in done.output and "1 unsupported" in done.output
    assert "train     2 genuine, 1 manipulated" in done.output
    pool = pools.read(tmp_path / "work/pools/real-fake")
    assert sorted(pool.labels.tolist()) == [0] * 5 + [1] * 4
    assert {pool.groups[i] for i in np.flatnonzero(pool.labels == 1)} == {"a"}
    assert set(pool.licences) == {"CC0"} and set(pool.splits) == {"train", "val"}
    told = json.loads((tmp_path / "work/pools/real-fake/prepared.json").read_text())
    assert told["outcomes"] == {"prepared": 3, "unsupported": 1}


def test_the_command_says_how_it_chose_groups_and_which_fakes_stand_alone(
    tmp_path, monkeypatch
) -> None:
    in_process(monkeypatch, [])
    names = [f"real/interview_{i:04d}.png" for i in range(5)]
    names += ["real/000.mp4", "fake/000_001.mp4", "fake/sora.mp4", "fake/interview_0003.png"]
    for name in names:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()
    done = CliRunner().invoke(
        app, ["prepare", str(tmp_path / "set"), "--work", str(tmp_path / "w")]
    )
    assert done.exit_code == 2 and "No face could be prepared of 9 samples" in done.output
    lines = done.output.splitlines()
    (groups,) = (line for line in lines if line.startswith("groups"))
    assert "6 pictures, 1 groups" in groups and "a folder of its own" in groups
    assert (
        "generated 1 of 3 fakes have no genuine file of their name: they count as wholly generated"
        in lines
    )


def test_face_crops_of_a_test_split_get_a_pool_that_no_training_opens(
    tmp_path, monkeypatch
) -> None:
    in_process(monkeypatch, [])
    TREES["wilddeepfake"](tmp_path / "set")
    work = tmp_path / "work"
    done = CliRunner().invoke(app, ["prepare", str(tmp_path / "set"), "--work", str(work)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "test 0 genuine, 1 manipulated; a pool apart for `dfd evaluate --faces`" in said
    assert "scans them" not in said
    found = {path.name: set(pools.read(path).splits) for path in (work / "pools").iterdir()}
    assert found["wilddeepfake_test"] == {"test"} and "test" not in found["wilddeepfake"]
    assert list(training_pools(work)) == ["wilddeepfake"]


@pytest.fixture
def bundle(tmp_path) -> Path:
    root = tmp_path / "bundle"
    (root / "labelled").mkdir(parents=True)
    for name in ("faces.csv", "clips.csv"):
        (root / name).write_text("")
    return root


@pytest.mark.parametrize(
    "flags",
    [
        ["--limit", "2"],
        ["--licence", "mine"],
        ["--landmarks", "x.safetensors"],
        ["--clips", "1"],  # the default, yet given
        ["--frames", "24"],
        ["--crop-actors", "1"],
        ["--address", "auto"],
        ["--anonymous"],
        ["--limit", "2", "--as", "bundle"],
    ],
)
def test_a_bundle_refuses_flags_that_it_does_not_follow(bundle, tmp_path, flags) -> None:
    work = tmp_path / "work"
    done = CliRunner().invoke(app, ["prepare", str(bundle), "--work", str(work), *flags])
    assert done.exit_code == 2
    assert f"is a bundle, whose own lists say what is prepared: leave out {flags[0]}" in done.output
    assert not work.exists()


def test_a_bundle_follows_the_name_of_a_pool_and_a_checkpoint(
    bundle, tmp_path, monkeypatch
) -> None:
    made = []
    monkeypatch.setattr(
        prepare, "prepare", lambda data, work, margin, only: made.append(only) or {only[0]: 7}
    )
    more = ["--as", "bundle", "--name", "looks", "--checkpoint", "open"]
    done = CliRunner().invoke(app, ["prepare", str(bundle), "--work", str(tmp_path), *more])
    assert done.exit_code == 0, done.output
    assert made == [("looks",)] and "looks" in done.output and "7 faces" in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "There is no folder nowhere"),
        ([".", "--as", "ffpp"], "There is no layout 'ffpp'"),
        ([".", "--as", "bundle"], "holds no bundle: there is no faces.csv or clips.csv"),
    ],
)
def test_the_command_answers_a_users_error_in_a_sentence(
    tmp_path, monkeypatch, arguments, told
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    done = CliRunner().invoke(app, ["prepare", *arguments, "--work", "work"])
    assert done.exit_code == 2 and told in done.output
    assert not (tmp_path / "work").exists()
