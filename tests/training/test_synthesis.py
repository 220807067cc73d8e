"""Fitting the second look at stills, and what later trainings do with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture, Checkpoint
from dfd_batch.evaluation.crops import CropJudge
from dfd_batch.features.cnn import FrameEncoder
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import load
from dfd_batch.training import evaluate, image_scores, pools, run, selection, synthesis
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Face, is_held_out
from tests.training.conftest import face_image, template
from tests.training.test_run import arguments, dfd


@pytest.fixture
def general(tmp_path: Path) -> Path:
    """Weights of a backbone that knows pictures in general, as a user has them."""
    torch.manual_seed(4)
    path = tmp_path / "general.safetensors"
    backbone = FrameEncoder(Architecture(encoder="mobilenetv2_035")).backbone
    with torch.no_grad():
        for _ in range(60):  # random layers, but norms as training leaves them
            backbone.train()(torch.randn(8, 3, 48, 48))
    safetensors.torch.save_file(backbone.state_dict(), path)
    return path


def test_a_head_is_calibrated_to_how_rare_generated_stills_are() -> None:
    rng = np.random.default_rng(0)
    truth = np.tile([0, 1], 600)
    x = rng.normal(size=(1200, 12)) * np.linspace(0.2, 3, 12) + 5
    x[:, 3] += truth * 1.2
    features, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(truth).float()
    head = nn.Linear(12, 1)
    aside = features[800:], labels[800:]
    auc = synthesis.fit(head, (features[:800], labels[:800]), aside)
    odds = head(aside[0])[:, 0].detach().numpy()
    assert auc > 0.8
    # Where generated ones are as rare as the prior says, chances come true.
    chance = 1 / (1 + np.exp(-odds))
    rare = np.where(aside[1] == 1, synthesis.PRIOR, 1 - synthesis.PRIOR)
    assert (rare * chance).sum() / rare.sum() == pytest.approx(synthesis.PRIOR, abs=0.02)


def test_pairs_kept_aside_share_no_face_with_the_others(work: Path) -> None:
    config = TrainConfig(work=work, out=work / "o", batch_pairs=4, without=("redrawn",))
    learned, aside = (synthesis.GeneratedPairs(config, 9, kept) for kept in (False, True))
    assert len(learned) == 3
    for pairs, kept in ((learned, False), (aside, True)):
        crops, labels = pairs[0]
        assert labels.tolist() == [0, 1] * 4
        assert crops.shape[0] == 8
        groups = {pairs._pools[name].groups[row] for name, row in pairs._generated_rows}
        groups |= {pairs._pools[n].groups[i] for n, rows in pairs._genuine.items() for i in rows}
        assert groups
        assert all(is_held_out(f"choose {group}") == kept for group in groups)


def test_genuine_stills_of_all_pools_hold_the_thresholds(
    work: Path, general: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_scores, "FEWEST_PEOPLE", 2)
    shapes: dict[str, int] = {}
    given = image_scores.genuine(TrainConfig(work=work, out=work / "o"))
    for name, crops in given.items():
        pool = pools.read(work / "pools" / name)
        shapes[name] = len(crops)
        assert len(crops) == len({g for g in pool.groups if is_held_out(g)})
    assert "dfdc_dev" not in shapes
    assert "portraits" in shapes

    def accusing(_: Checkpoint, crops: pools.Image, config: TrainConfig) -> NDArray[np.float64]:
        known = image_scores.faces(config).crops
        return np.full(len(crops), 9.0) if len(crops) != len(known) else np.linspace(-2, 2, 32)

    assert dfd(*arguments(work, "--temporal", "none"))[0] == 0
    toml = work / "train.toml"
    toml.write_text("synthesis_pairs = 8\n" + toml.read_text())
    settings = ("--work", str(work), "--config", str(toml), "--batch", "4")
    monkeypatch.setattr(image_scores, "odds", accusing)
    words = ("--out", str(work / "o"), "--synthesis-only", str(work / "mine"))
    code, output = dfd("train", *settings, *words, "--init", str(general))
    assert code == 0, output
    card = checkpoint.load(str(work / "o")).card
    told = {m.data: m for m in card.metrics if m.name == "false alarms of stills"}
    assert len(told) == len(shapes) + 1
    n = sum(m.n for m in told.values())
    assert sum(m.value * m.n for m in told.values()) <= 0.03 * (n + 1)  # what all would reach


def test_a_detector_is_given_a_second_look_and_keeps_all_else(work: Path, general: Path) -> None:
    assert dfd(*arguments(work, "--temporal", "none"))[0] == 0
    mine, twice, full = (str(work / name) for name in ("mine", "twice", "full"))
    toml = work / "train.toml"
    toml.write_text("synthesis_pairs = 64\n" + toml.read_text())
    settings = ("--work", str(work), "--config", str(toml), "--batch", "4")
    code, output = dfd(
        "train", *settings, "--out", twice, "--synthesis-only", mine, "--init", str(general)
    )
    assert code == 0, output
    before, after = checkpoint.load(mine), checkpoint.load(twice)
    assert all(np.array_equal(after.weights[name], w) for name, w in before.weights.items())
    assert after.card.architecture.synthesis
    assert "second look at stills" in after.card.description
    assert after.card.thresholds != before.card.thresholds  # measured anew, there are no films
    assert after.card.image_calibration != before.card.image_calibration
    assert after.card.training.command.startswith(before.card.training.command + "; dfd")
    kept = safetensors.torch.load_file(general)
    for name, array in after.part("synthesis").items():
        if name.startswith("backbone.") and array.dtype.kind == "f":
            ours = kept[name.removeprefix("backbone.")].half().float().numpy()
            np.testing.assert_array_equal(array, ours)
    told = {metric.name: metric for metric in after.card.metrics}
    assert told["AUC, both looks"].n == 32
    assert told["pair order, both looks"].n == 16
    assert "draws of" in told["AUC, second look alone"].data
    assert after.card.metrics[0].name == "AUC, both looks"
    assert told["AUC"].data == told["AUC, both looks"].data + " (frame encoder alone)"
    seen = [source for source in after.card.training.data if source.name == "generated"]
    assert [source.n for source in seen]
    faces = image_scores.faces(
        TrainConfig(work=work, out=work, preprocessing=after.card.preprocessing)
    )
    stills = CropJudge(load({"checkpoint": twice, "pools": {"device": "cpu"}}))
    chances = stills([crop[None] for crop in faces.crops])
    odds = image_scores.odds(after, faces.crops, TrainConfig(work=work, out=work))
    calibrated = evaluate.probability(odds, after.card.image_calibration)
    np.testing.assert_allclose(chances, calibrated, atol=1e-4)  # what a scan would say
    assert len(json.loads((work / "synthesis.json").read_text())["starts"]) == 1

    code, output = dfd("train", *settings, "--out", full, "--temporal-only", twice)
    assert code == 0, output
    last = checkpoint.load(full)
    again = str(work / "again")
    higher = dfd(
        "train", *settings, "--out", again, "--synthesis-only", full, "--init", str(general)
    )
    assert higher[0] == 0, higher[1]
    films = last.card.thresholds.model_dump()
    bands = checkpoint.load_card(again).thresholds.model_dump()
    assert all(bands[name] >= films[name] for name in films)
    assert last.card.architecture.synthesis
    assert last.card.architecture.temporal == "lstm"
    assert all(
        np.array_equal(last.weights[name], w)
        for name, w in after.weights.items()
        if name.startswith("synthesis.")
    )


@pytest.mark.parametrize("init", [("--init", "none"), ("--init", "open"), ()])
def test_it_wants_weights_that_know_pictures_in_general(work: Path, init: tuple[str, ...]) -> None:
    given = ("train", "--work", str(work), "--out", str(work / "o"), "--synthesis-only", "open")
    code, output = dfd(*given, *init)
    assert code == 2
    assert "weights that know pictures in general" in output


def test_a_detector_is_refused_whose_promises_a_new_part_would_break(
    work: Path, general: Path
) -> None:
    shipped = checkpoint.load("open")
    point = checkpoint.OperatingPoint(
        target_fpr=0.01, n_images=9, n_videos=9, coverage="standard", date="", base="open 0.2.0",
        command="",
    )  # fmt: skip
    fitted = shipped.card.model_copy(update={"operating_point": point})
    mine = str(work / "fitted")
    checkpoint.save(work / "fitted", fitted, shipped.weights)
    given = ("train", "--work", str(work), "--out", str(work / "o"), "--init", str(general))
    for flag in ("--synthesis-only", "--temporal-only"):
        code, output = dfd(*given, flag, mine)
        assert code == 2
        assert "train on open 0.2.0, and calibrate afterwards" in output
        code, output = dfd(*given, flag, "default", "--open")
        assert code == 2
        assert "default learned from media under" in output
    code, output = dfd(*given, "--synthesis-only", "open", "--mixture", "genuine")
    assert code == 2
    assert "learns from generated faces" in output


def test_a_swap_whose_source_may_not_be_used_is_no_generated_face(tmp_path: Path) -> None:
    side, points = 80, template() * 80
    faces = []
    for i, (label, licence) in enumerate([(0, "research only"), (1, "CC BY"), (1, "CC BY")]):
        group = "swapped" if i < 2 else "nobody"
        image = face_image(side, np.random.default_rng(i))
        faces.append(Face(image, points, 64.0, f"{i}.png", label, group, licence=licence))
    pools.write(tmp_path / "pools" / "mixed", faces)
    pool = pools.read(tmp_path / "pools" / "mixed")
    assert selection.pairs_of(pool, np.arange(3)) == ([(0, 1)], [2])
    assert selection.pairs_of(pool, np.array([1, 2])) == ([], [2])


def test_of_two_people_in_a_film_each_is_paired_with_itself(tmp_path: Path) -> None:
    def face(file: str, label: int, frame: int, pair: str = "") -> pools.Face:
        patch, points = np.zeros((8, 8, 3), np.uint8), np.zeros((68, 2), np.float32)
        return pools.Face(patch, points, 6.0, file, label, "g", frame=frame, pair=pair)

    genuine = [face(name, 0, t) for name in ("a#1.mp4", "a#1.mp4#face1") for t in range(3)]
    fakes = [face("b.mp4#face1", 1, t, "a#1.mp4") for t in range(3)]
    pools.write(tmp_path, [*genuine, *fakes])
    paired, alone = selection.pairs_of(pools.read(tmp_path), np.arange(9))
    assert paired == [(3, 6), (4, 7), (5, 8)]
    assert not alone


def test_a_second_look_is_no_setting_of_a_whole_training(work: Path) -> None:
    settings = TrainConfig(
        work=work, out=work / "o", initial_weights="none", architecture={"synthesis": True}
    )
    with pytest.raises(UsageError, match="train with --synthesis-only"):
        run.settled(settings)


def test_both_parts_alone_are_trained_one_after_the_other(work: Path) -> None:
    given = ("train", "--work", str(work), "--out", str(work / "o"))
    code, output = dfd(*given, "--synthesis-only", "open", "--temporal-only", "open")
    assert code == 2
    assert "one after the other" in output
    code, output = dfd(*given, "--synthesis-only", "open", "--workers", "2")
    assert code == 2
    assert "--synthesis-only trains here and now" in output


def test_pools_without_generated_faces_are_refused(tmp_path: Path, toy_pools: Path) -> None:
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "portraits").symlink_to(toy_pools / "portraits")
    config = TrainConfig(work=tmp_path, out=tmp_path / "o")
    with pytest.raises(UsageError, match="too few wholly generated faces"):
        synthesis.GeneratedPairs(config, 8, False)


def test_weights_that_see_no_difference_are_refused() -> None:
    nothing = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) * 1e-9
    labels = torch.tensor([0.0, 1.0] * 32)
    with pytest.raises(UsageError, match="hardly differ between faces"):
        synthesis.fit(nn.Linear(4, 1), (nothing, labels), (nothing, labels))
