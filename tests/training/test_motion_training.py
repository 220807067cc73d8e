"""The motion encoder's training: what it learns, that it goes on, and what comes out at the end."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture, Preprocessing
from dfd_batch.features.flow import SIDE, FlowMaps
from dfd_batch.outcomes import UsageError
from dfd_batch.schema import CROPPED
from dfd_batch.settings import Pools, Settings
from dfd_batch.stages import Embed, RunContext
from dfd_batch.training import clips, consecutive, motion, pools, temporal
from dfd_batch.training.ahead import made
from dfd_batch.training.clips import ClipForge, clips_mark
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.filming import Filming
from dfd_batch.training.fit import EncoderRun
from dfd_batch.training.forge import Donor
from dfd_batch.training.kept import kept_pairs
from dfd_batch.training.mapped_clips import MappedClips, mapped_clips
from tests.training.conftest import face_image, template


def config(work: Path, **changes: object) -> TrainConfig:
    settings = {
        "data": work,
        "work": work,
        "out": work / "best",
        "initial_weights": "none",
        "architecture": Architecture(encoder="mobilenetv2_035", hidden=16, motion=4),
        "preprocessing": Preprocessing(crop_size=48),
        "batch_pairs": 4,
        "images": 16,
        "threads": 1,
        "loaders": 0,
        "clip_frames": 6,
        "clips": 12,
        "motion_pairs": 12,
        "motion_epochs": 1,
        "temporal_epochs": 2,
        **changes,
    }
    return TrainConfig.model_validate(settings)


def moving_squares(n_pairs: int) -> MappedClips:
    """A square that jumps to and fro in the fake of each pair and rests in the genuine one."""
    rng, mapped = np.random.default_rng(0), FlowMaps()
    scene = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE), np.uint8), (0, 0), 2)
    maps = []
    for _ in range(n_pairs):
        x, y = rng.integers(30, 60, 2)
        for jump in (0, 2):
            greys = np.stack([scene] * 4)
            for t in (1, 3):
                greys[t, y : y + 24, x : x + 24] = scene[y : y + 24, x + jump : x + jump + 24]
            maps.append(mapped(greys))
    labels = np.zeros((2 * n_pairs, 4), np.float32)
    labels[1::2] = 1
    return MappedClips(np.stack(maps), labels, ["jitter"] * 2 * n_pairs)


def last_told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1].split(" ", 1)[1])
    return told


def test_what_moves_is_learned(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = moving_squares(24)
    monkeypatch.setattr(motion, "mapped_clips", lambda *args: data)
    monkeypatch.setattr(motion, "BATCH_PAIRS", 4)
    motion.fit_motion(config(work, motion_pairs=24, motion_epochs=10, clip_frames=4))
    told = last_told(capsys)
    assert told["AUC"] > 0.9
    assert told["frames"] > 0.9


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    work: Path, tmp_path: Path, toy_pools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = motion.fit_motion(config(work, motion_epochs=2))
    other = tmp_path / "other"
    other.mkdir()
    (other / "pools").symlink_to(toy_pools)
    settings = config(other, motion_epochs=2)
    mapped_clips(
        settings, 3, False, other / f"motion-train-{clips.clips_mark(settings)}"
    )  # stopped while making clips
    looks, measure = [], motion._aucs

    def stopped(*args: Any) -> dict[str, float]:
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(motion, "_aucs", stopped)
    with pytest.raises(KeyboardInterrupt):
        motion.fit_motion(settings)
    torch.rand(3)  # whatever happens in between must not matter
    again = motion.fit_motion(settings)
    assert len(looks) == 3  # the first epoch was not trained again
    ours, theirs = whole.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_detector_with_motion_is_made_and_says_what_it_brings(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(work, clips=32)
    EncoderRun(settings).run()
    assert checkpoint.load(str(settings.out)).card.architecture.motion == 0
    card = temporal.add_temporal(settings, settings.out, work / "full")
    assert card.architecture.motion == 4
    made = checkpoint.load(str(work / "full"))
    assert {name.split(".")[0] for name in made.weights} == {"encoder", "temporal", "motion"}
    told = {metric.name for metric in card.metrics}
    assert {"clip AUC, temporal head", "clip AUC, mean of frames"} <= told
    assert any("false alarms" in name for name in told)

    monkeypatch.setattr(temporal, "fit_motion", None)  # a known motion encoder is taken over
    taken = settings.model_copy(update={"motion_from": str(work / "full"), "seed": 7})
    other = temporal.add_temporal(taken, settings.out, work / "other").training
    assert (other.seed, other.clips_seen) == (7, 32)  # from which its clips can be made again
    ours, theirs = made.part("motion"), checkpoint.load(str(work / "other")).part("motion")
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(UsageError, match="has 0 motion features"):
        temporal.add_temporal(
            settings.model_copy(update={"motion_from": str(settings.out)}), settings.out, work
        )


def test_a_motion_encoder_goes_on_from_that_of_a_detector(work: Path) -> None:
    settings = config(work, clips=32, motion_pairs=4, motion_epochs=1)
    EncoderRun(settings).run()
    temporal.add_temporal(settings, settings.out, work / "full")
    begun = checkpoint.load(str(work / "full")).part("motion")
    told = {"motion_start": str(work / "full"), "motion_rate": 1e-9}
    near = motion.fit_motion(settings.model_copy(update=told)).state_dict()
    learned = [name for name, array in begun.items() if "norm" not in name and array.ndim > 1]
    assert learned
    for name in learned:
        np.testing.assert_allclose(near[name].numpy(), begun[name], atol=1e-5)


def test_forged_pairs_differ_where_their_labels_say_so_and_suffer_alike(work: Path) -> None:
    forge = ClipForge(config(work), False, {"clip": 0.6, "still": 0.4})
    groups, troubles, n_forged = set(), set(), 0
    for number in range(30):
        pair = forge.pair(number)
        assert pair.genuine.shape == pair.fake.shape == (6, 48, 48, 3)
        n_forged += pair.labels.any()  # lost frames may take the forged ones with them
        groups.add(pair.group.split("-")[0])
        troubles.add(pair.trouble)
        if not pair.trouble and not pair.labels.all():
            first = int(pair.labels.argmax())
            same = (
                np.abs(pair.genuine[:first].astype(int) - pair.fake[:first]).mean() if first else 0
            )
            assert same < 1
    assert n_forged > 25
    assert groups == {"clips", "portraits"}
    assert "" in troubles
    assert len(troubles) > 2


def test_a_track_that_is_interpolated_lets_the_face_wander_between_its_looks() -> None:
    rng = np.random.default_rng(0)
    film = clips.forge_clip.draw_filming(17, rng, still=False)
    path = clips._adrift(film, rng, (0.002, 0.02)).path
    off = np.array([g.shift for g in path]) - np.array([g.shift for g in film.path])
    assert np.abs(off[[0, 8, 16]]).max() < 1e-9
    assert 0.002 <= np.abs(off).max() <= 0.02


def test_scanning_computes_the_features_that_training_computed(work: Path) -> None:
    settings = config(work, clips=16, motion_pairs=4)
    EncoderRun(settings).run()
    temporal.add_temporal(settings, settings.out, work / "full")
    made = checkpoint.load(str(work / "full"))
    (cache,) = work.glob("clips-*-train.f16")
    (features, _), known = kept_pairs(cache.with_suffix(""), 2, pytest.fail, "clips")
    logits = known["frame_logits"][0]
    pair = ClipForge(settings, False).pair(0)
    crops = np.concatenate([pair.genuine, pair.fake])
    n = len(pair.genuine)
    row = dict.fromkeys(CROPPED.names) | {
        **{"media_id": "a", "uri": "/a", "media": "video", "fps": 25.0, "n_crops": 2 * n},
        **{"crops": crops.tobytes(), "crop_time_s": [i / 25 for i in range(2 * n)]},
        **{"crop_track": [0] * 2 * n, "crop_clip": [0] * n + [1] * n},
        **{"crop_box": [[0.0] * 4] * 2 * n, "crop_landmarks": [[0.0] * 10] * 2 * n},
    }
    scan = Settings(pools=Pools(device="cpu"))
    context = RunContext(scan, "", "run", "id", date(2026, 1, 1), made)
    (found,) = Embed(context)(pa.Table.from_pylist([row], schema=CROPPED)).to_pylist()
    seen = np.frombuffer(found["features"], np.float16).reshape(2, n, -1)
    np.testing.assert_array_equal(seen[..., -4:], features[..., -4:])
    # the encoder's bfloat16 sums depend on the size of its batch
    np.testing.assert_allclose(seen, features, atol=0.05)
    np.testing.assert_allclose(found["frame_logit"], logits.reshape(-1), atol=0.05)


def test_media_of_all_licences_are_not_taken_for_those_of_some(work: Path) -> None:
    motion.fit_motion(config(work))
    with pytest.raises(UsageError):
        motion.fit_motion(config(work, licences=("none such",)))
    marks = {config(work, licences=x).media_mark for x in ((), ("MIT",), ("CC0",))}
    assert len(marks) == 3 and "" in marks


def test_clips_with_labelled_fakes_are_not_taken_for_those_of_genuine_media_alone(
    work: Path,
) -> None:
    alone = config(work, labelled_share=0.0, generated_share=0.0)
    assert clips_mark(config(work)) != clips_mark(alone)


def test_any_pool_with_consecutive_frames_serves_whatever_its_name(
    tmp_path: Path, toy_pools: Path
) -> None:
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "mine").symlink_to(toy_pools / "clips")
    assert consecutive.has_clips(config(tmp_path))
    forge = ClipForge(config(tmp_path), False)
    assert {forge.pair(k).group.split("-")[0] for k in range(4)} == {"clips"}
    groups = {forge.pair(k).group for k in range(20)}
    apart = {ClipForge(config(tmp_path), True).pair(k).group for k in range(20)}
    assert not groups & apart


def test_pools_without_consecutive_frames_are_refused_in_one_sentence(
    tmp_path: Path, toy_pools: Path
) -> None:
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "portraits").symlink_to(toy_pools / "portraits")
    assert not consecutive.has_clips(config(tmp_path))
    with pytest.raises(UsageError, match="6 consecutive frames of genuine people"):
        ClipForge(config(tmp_path), False, {"clip": 1.0})


def test_untouched_clips_differ_only_where_they_were_forged(work: Path) -> None:
    forge = ClipForge(config(work), False, {"clip": 1.0}, untouched=True)
    for number in range(8):
        pair = forge.pair(number)
        assert not pair.trouble
        apart = np.abs(pair.genuine.astype(int) - pair.fake).max((1, 2, 3))
        assert not apart[pair.labels == 0].any()
        assert apart[pair.labels == 1].any()


def test_twins_forged_throughout_are_also_shown_forged_in_stretches() -> None:
    n_pairs, n = 200, 16
    labels = np.zeros((2 * n_pairs, n), np.float32)
    labels[1::2] = 1
    labels[3, :4] = 0  # this one is forged in a stretch already
    maps = np.zeros((2 * n_pairs, n - 1, 14, 14, 14), np.float16) + np.arange(2 * n_pairs)[
        :, None, None, None, None
    ].astype(np.float16)
    seen, shown = motion.spliced(maps.copy(), labels, np.random.default_rng(0))
    np.testing.assert_array_equal(shown[3], labels[3])
    np.testing.assert_array_equal(seen[3], maps[3])
    assert not shown[::2].any() and shown[1::2].any(1).all()
    np.testing.assert_array_equal(seen[::2], maps[::2])
    spliced = np.flatnonzero(~shown[1::2].all(1) & (np.arange(n_pairs) != 1))
    assert 0.3 < len(spliced) / n_pairs < 0.5
    for pair in spliced:
        fake = 2 * pair + 1
        forged = seen[fake, :, 0, 0, 0] == fake
        np.testing.assert_array_equal(forged, (shown[fake, 1:] * shown[fake, :-1]) == 1)
        assert (seen[fake, ~forged] == fake - 1).all()


def test_another_persons_face_moves_unless_it_goes_into_a_still(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    donors: dict[bool, list[object]] = {True: [], False: []}
    made = clips.forge_clip.forge_clip

    def noted(clip: Any, rng: Any, donor: Any, operation: str | None) -> Any:
        donors[operation is not None].append(donor)
        return made(clip, rng, donor, operation)

    monkeypatch.setattr(clips.forge_clip, "forge_clip", noted)
    forge = ClipForge(config(work), False, {"clip": 0.5, "still": 0.5})
    for number in range(40):
        forge.pair(number)
    of_clips, of_stills = ([d for d in donors[still] if d is not None] for still in (False, True))
    moving = [donor for donor in of_clips if isinstance(donor, clips.forge_clip.Clip)]
    assert moving and len(moving) == len(of_clips)
    assert of_stills and all(isinstance(donor, Donor) for donor in of_stills)
    assert any(np.ptp(donor.frames, axis=0).any() for donor in moving)


def test_stills_are_brought_to_life_by_other_peoples_clips(work: Path, tmp_path: Path) -> None:
    forge = ClipForge(config(work), False, {"still": 1.0})
    made = [pair for pair in map(forge.pair, range(40)) if pair.operation == "reenact"]
    assert made
    assert all(pair.labels.any() for pair in made)
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "portraits").symlink_to(work / "pools" / "portraits")
    alone = ClipForge(config(tmp_path), False, {"still": 1.0})
    assert "reenact" not in {pair.operation for pair in map(alone.pair, range(40))}
    barred = config(work).model_copy(update={"without": ("reenact",)})
    barred_forge = ClipForge(barred, False, {"still": 1.0})
    assert "reenact" not in {pair.operation for pair in map(barred_forge.pair, range(40))}


def test_labelled_videos_are_seen_as_they_move_with_their_own_labels(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(0), 10
    intervals = np.array([0, 0, 0, 0, 1, 1, 1, 0, 0, 0])
    common = {"landmarks": template() * 80, "canonical_px": 64.0, "group": "g", "split": "train"}
    faces = [
        pools.Face(face_image(80, rng), file=f"{name}.mp4", frame=t, label=int(labels[t]),
                   pair=pair, **common)
        for name, labels, pair in (("a", 0 * intervals, ""), ("b", intervals, "a.mp4"))
        for t in range(n)
    ]  # fmt: skip
    pools.write(tmp_path / "pools" / "mine", faces)
    settings = config(tmp_path)
    pool = pools.read(tmp_path / "pools" / "mine")
    everything = np.arange(len(pool))
    # frames 0 to 4 of the manipulated one begin a run of six that is not genuine throughout
    assert consecutive.starts(pool, everything, 6).tolist() == [0, 1, 2, 3, 4]
    assert consecutive.starts(pool, everything, 4).tolist() == [*range(7), 10]
    assert consecutive.run(pool, 11, n) == (10, 14)
    forge = ClipForge(settings, False, {"labelled": 1.0})
    seen = [forge.pair(number) for number in range(12)]
    whole = [pair for pair in seen if len(set(pair.labels.tolist())) == 2]
    assert whole  # those that begin at frame 4: three manipulated frames, then genuine ones
    assert all(np.abs(np.diff(pair.fake.astype(int), axis=0)).mean() > 3 for pair in whole)


@pytest.mark.parametrize("processes", [0, 1])
def test_what_is_made_ahead_draws_nothing_from_the_weights_generator(processes: int) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert list(made(abs, range(4), processes)) == [0, 1, 2, 3]
    assert torch.equal(torch.get_rng_state(), before)


def test_operations_over_time_can_be_left_out(work: Path) -> None:
    odds: dict[clips.Kind, float] = {"clip": 0.6, "still": 0.4}
    temporal_ones = [name for name in clips.forge_clip.OPERATIONS if name != "static"]
    given = config(work, without=tuple(temporal_ones))
    assert {ClipForge(given, False, odds).pair(k).operation for k in range(12)} == {"static"}
    but_one = config(work, without=("jitter",))
    seen = {ClipForge(but_one, False, odds).pair(k).operation for k in range(40)}
    assert len(seen) > 4 and "jitter" not in seen
    marks = {clips.clips_mark(c) for c in (config(work), given, but_one)}
    assert len(marks) == 3
    with pytest.raises(UsageError):
        ClipForge(config(work, without=clips.forge_clip.OPERATIONS), False, odds)


def test_swaps_and_h264_are_left_out_over_time_as_well(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    donors: list[object] = []
    forge_one = clips.forge_clip.forge_clip
    films: list[Filming] = []

    def forged(clip: Any, rng: Any, donor: Any = None, operation: Any = None) -> Any:
        donors.append(donor)
        return forge_one(clip, rng, donor, operation)

    def shot(film: Filming, *given: Any) -> Any:
        films.append(film)
        return filmed(film, *given)

    filmed = Filming.__call__
    monkeypatch.setattr(clips.forge_clip, "forge_clip", forged)
    monkeypatch.setattr(Filming, "__call__", shot)

    def drawn(without: tuple[str, ...]) -> tuple[bool, bool]:
        donors.clear()
        films.clear()
        forge = ClipForge(config(work, without=without), False, {"clip": 1.0})
        for number in range(12):
            forge.pair(number)
        encoded = [f.crf or any(t.kind == "reencode" for t in f.troubles) for f in films]
        return any(donor is not None for donor in donors), any(encoded)

    assert drawn(()) == (True, True)
    assert drawn(("swap",)) == (False, True)
    assert drawn(("h264",)) == (True, False)
    assert len({clips_mark(config(work, without=w)) for w in ((), ("swap",), ("h264",))}) == 3


def test_a_partly_forged_film_stands_in_for_a_genuine_one_as_far_as_it_is_genuine(
    tmp_path: Path,
) -> None:
    group = next(f"g{i}" for i in range(99) if not pools.is_held_out(f"g{i}"))
    faces = []
    for name, forged in (("a.mp4", range(6, 12)), ("b.mp4", range(6))):
        for t in range(12):
            grey = 200 if t in forged else 60
            patch, label = np.full((80, 80, 3), grey, np.uint8), int(t in forged)
            points = template() * 80
            faces.append(pools.Face(patch, points, 64.0, name, label, group, frame=t))
    pools.write(tmp_path / "pools" / "partly", faces)
    forge = ClipForge(config(tmp_path), False, {"labelled": 1.0}, untouched=True)
    for number in range(20):
        pair = forge.pair(number)
        assert pair.genuine.max() < 100
        assert pair.fake[pair.labels == 1].min() > 100
