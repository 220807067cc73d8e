"""`dfd train` at its edge: flags, refusals, what it would take, and a whole training."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from typer.testing import CliRunner

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture
from dfd_batch.cli import app
from dfd_batch.features.cnn import FrameEncoder
from dfd_batch.outcomes import UsageError
from dfd_batch.training import cards, cluster, initial, pools, prepare, run
from dfd_batch.training.config import OPEN_LICENCES, TrainConfig, load
from dfd_batch.training.fit import EncoderRun, Listener
from dfd_batch.training.pools import Face

SETTINGS = """
look_images = 10_000
warmup_images = 16
loaders = 0
threads = 1
clip_frames = 6
clips = 16
motion_pairs = 4
temporal_epochs = 1
without = ["redrawn"]
[architecture]
hidden = 16
"""


def arguments(work: Path, *more: str) -> list[str]:
    settings = work / "train.toml"
    settings.write_text(SETTINGS)
    given = {
        **{"--work": work, "--out": work / "mine", "--config": settings},
        **{"--encoder": "mobilenetv2_035", "--crop-size": 48, "--batch": 4, "--images": 32},
        "--init": "none",
    }
    flags = [str(part) for pair in given.items() for part in pair]
    return ["train", *flags, *more]


def dfd(*given: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(given))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_a_training_leaves_checkpoint_record_and_curves(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ("--name", "of mine", "--limitation", "Toy faces.", "--optimizer", "sam")
    monkeypatch.setattr(sys, "argv", ["dfd", *arguments(work, *told)])
    code, output = dfd(*sys.argv[1:])
    assert code == 0, output
    card = checkpoint.load_card(str(work / "mine"))
    assert card.name == "of mine"
    assert card.architecture.temporal == "lstm"
    assert card.limitations[0] == "Toy faces."
    assert card.training.images_seen == 32
    assert card.training.command == shlex.join(sys.argv)
    assert "CPU cores" in card.training.hardware
    run = json.loads((work / "run.json").read_text())
    assert run["config"]["optimizer"] == "sam"
    assert run["config"]["without"] == ["redrawn"]
    assert run["starts"][0]["versions"]["torch"] in torch.__version__
    assert (work / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "100.0%" in output
    assert "AUC" in output


def test_a_dry_run_tells_and_leaves_nothing(work: Path) -> None:
    before = sorted(work.iterdir())
    code, output = dfd(*arguments(work, "--dry-run", "--mixture", "genuine"))
    assert code == 0, output
    for part in ("pool dfdc", "4 steps of 8 images", "from none", "images/s here"):
        assert part in output
    assert "manipulated" not in output  # only genuine faces are used
    assert sorted(work.iterdir()) == [*before, work / "train.toml"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--optimizer", "lion"), "optimizer = 'lion' is not allowed"),
        (("--init", "nowhere"), "No checkpoint 'nowhere'"),
        (("--data", "nowhere"), "No training data at nowhere"),
        (("--workers", "9"), "9 workers cannot share 4 pairs"),
        (("--encoder", "nonet"), "timm has no model 'nonet'"),
        (("--without", "magic"), "'magic' is not allowed"),
        (("--config", "nowhere.toml"), "No settings at nowhere.toml"),
        (("--licence-like", "WTFPL"), "licence that was asked for: theirs are none stated"),
        *([(("--device", "cuda"), "no GPU")] if not torch.cuda.is_available() else []),
    ],
)
def test_refusals_are_one_sentence(work: Path, more: tuple[str, ...], told: str) -> None:
    code, output = dfd(*arguments(work, *more))
    assert code == 2
    assert told in output
    assert not (work / "state.pt").exists()


def test_places_and_beginnings_must_be_named(work: Path) -> None:
    assert "Say --work FOLDER" in dfd("train")[1]
    code, output = dfd("train", "--work", str(work), "--out", str(work / "mine"))
    assert code == 2
    assert "Say what the encoder begins from" in output


def test_pools_without_clips_or_fakes_are_refused_before_training(
    tmp_path: Path, toy_pools: Path
) -> None:
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "portraits").symlink_to(toy_pools / "portraits")
    assert "has no 6 consecutive frames for the temporal head" in dfd(*arguments(tmp_path))[1]
    code, output = dfd(*arguments(tmp_path, "--mixture", "labelled", "--temporal", "none"))
    assert code == 2
    assert "no labelled fakes" in output


def test_clips_of_nobody_held_out_are_refused_before_training(
    tmp_path: Path, toy_pools: Path
) -> None:
    pool = pools.read(toy_pools / "clips")
    faces = (
        Face(
            *(np.array(pool.patches[i]), pool.landmarks[i], float(pool.canonical_px[i])),
            *(pool.files[i], 0, pool.groups[i]),
            frame=int(pool.frames[i]),
            split="train",
        )
        for i in range(len(pool))
    )
    pools.write(tmp_path / "pools" / "clips", faces)
    for more in ((), ("--dry-run",)):
        code, output = dfd(*arguments(tmp_path, *more))
        assert code == 2
        assert "no 6 consecutive frames of people held out of training" in output
    assert not (tmp_path / "state.pt").exists()
    assert dfd(*arguments(tmp_path, "--temporal", "none", "--dry-run"))[0] == 0


def test_a_folder_that_is_no_bundle_is_refused_in_a_sentence(work: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "labelled").mkdir(parents=True)
    (data / "labelled" / "dfdc.csv").write_text("file,label,group,split\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, output = dfd(*arguments(elsewhere, "--data", str(data)))
    assert code == 2
    assert (
        "data is no bundle of training data: it lacks faces.csv, clips.csv, dev/dev.csv" in output
    )
    assert "labelled/dfdc.csv" not in output


@pytest.mark.parametrize(("pool", "what"), [("dfdc", "picture"), ("clips", "video")])
def test_an_unreadable_medium_of_a_bundle_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str, what: str
) -> None:
    monkeypatch.setattr(prepare, "Landmark68", lambda weights: None)
    columns = "file,label,group,split,landmarks5,identity,source,licence,speaker,kind,method"
    for name in {*prepare.LISTS.values(), prepare.WEIGHTS}:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(columns + "\n")
    listed = tmp_path / "data" / prepare.LISTS[pool]
    listed.write_text(f"{columns}\nbad.dat,0,g,train,,,,,,,\n")
    (tmp_path / "data" / "bad.dat").write_bytes(b"junk" * 99)
    code, output = dfd(*arguments(tmp_path, "--data", str(tmp_path / "data")))
    assert code == 2
    assert f"bad.dat is not a readable {what}" in output
    assert not (tmp_path / "pools" / pool / "index.parquet").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU is meant")
def test_a_machine_without_gpu_leads_a_cluster_that_has_some(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fit_on_ray(config: TrainConfig, listener: Listener | None, address: str | None) -> bool:
        asked.append(config.device)
        return EncoderRun(config.model_copy(update={"device": "cpu"}), listener).run()

    monkeypatch.setattr(cluster, "fit_on_ray", fit_on_ray)
    for more in (("--workers", "2"), ("--address", "ray://head:10001")):
        code, output = dfd(*arguments(work, "--device", "cuda", *more, "--dry-run"))
        assert code == 0, output
    code, output = dfd(*arguments(work, "--device", "cuda", "--workers", "2"))
    assert code == 0, output
    assert asked == ["cuda"]
    assert checkpoint.load_card(str(work / "mine")).architecture.temporal == "lstm"


def test_autoencoders_are_given_the_used_faces_and_their_mark(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[dict[str, Any], str]] = []

    def redraw(work: Path, used: dict[str, Any], steps: int, *, mark: str, **more: Any) -> None:
        given.append((used, mark))
        raise UsageError("far enough")

    monkeypatch.setattr(run, "redraw", redraw)
    settings = load({"work": work, "out": work / "o", "licences": [""], "initial_weights": "none"})
    settings = settings.model_copy(update={"clip_frames": 6})
    with pytest.raises(UsageError, match="far enough"):
        run.train(settings)
    ((used, mark),) = given
    assert mark == settings.media_mark != ""
    clips, rows = used["clips"]
    assert set(rows) == set(clips.rows(0, held_out=False))


def test_the_temporal_part_alone_keeps_the_encoder_of_a_checkpoint(work: Path) -> None:
    assert dfd(*arguments(work, "--temporal", "none"))[0] == 0
    mine, full = str(work / "mine"), str(work / "full")
    settings = ("--work", str(work), "--config", str(work / "train.toml"))
    named = ("--name", "newsroom", "--limitation", "Seen on our own clips alone.")
    code, output = dfd("train", *settings, "--out", full, "--temporal-only", mine, *named)
    assert code == 0, output
    before, after = checkpoint.load(mine), checkpoint.load(full)
    ours = before.part("encoder")
    assert all(np.array_equal(array, ours[name]) for name, array in after.part("encoder").items())
    assert before.card.architecture.temporal == "none"
    assert (after.card.architecture.temporal, after.card.architecture.motion) == ("lstm", 64)
    assert after.card.preprocessing == before.card.preprocessing
    assert after.card.training.data == before.card.training.data
    assert after.card.name == "newsroom"
    assert after.card.limitations[0] == "Seen on our own clips alone."
    assert "What follows was said of mine" in after.card.limitations[1]
    # stills are judged as before
    assert before.card.image_calibration.n_samples
    assert after.card.image_calibration == before.card.image_calibration
    former, now = (card.thresholds.model_dump() for card in (before.card, after.card))
    assert all(now[name] >= former[name] for name in former)
    account = json.loads((work / "temporal.json").read_text(encoding="utf-8"))
    assert len(account["starts"]) == 1
    code, output = dfd("train", *settings, "--out", full, "--temporal-only", "nowhere")
    assert code == 2
    assert "No checkpoint 'nowhere'" in output
    code, output = dfd("train", *settings, "--out", full, "--temporal-only", mine, "--dry-run")
    assert code == 2
    assert "--temporal-only trains here and now" in output


def test_the_open_detector_saw_openly_licensed_media_alone(tmp_path: Path) -> None:
    config = TrainConfig(work=tmp_path, out=tmp_path, licences=OPEN_LICENCES)
    card = checkpoint.load_card("open")
    assert card.training.data
    assert all(config.allows(source.licence) for source in card.training.data)
    everything = checkpoint.load_card("default").training.data
    assert not all(config.allows(source.licence) for source in everything)


def test_the_card_names_what_the_temporal_part_saw_beside_the_encoders_data(work: Path) -> None:
    settings = load({"work": work, "out": work / "o", "initial_weights": "none"})
    everything = cards.sources(settings)
    assert len(everything) > 1
    assert cards.with_sources(everything[:1], everything) == everything
    assert cards.with_sources(everything, everything) == everything


def test_a_run_is_not_gone_on_with_by_other_settings(work: Path) -> None:
    assert dfd(*arguments(work, "--temporal", "none"))[0] == 0
    code, output = dfd(*arguments(work, "--temporal", "none", "--seed", "1"))
    assert code == 2
    assert "seed 0 → 1" in output
    longer = dfd(*arguments(work, "--temporal", "none", "--images", "40"))
    assert longer[0] == 0, longer
    assert checkpoint.load_card(str(work / "last")).training.images_seen == 40
    assert len(json.loads((work / "run.json").read_text())["starts"]) == 2


def test_a_finished_run_says_so_and_puts_its_best_where_it_is_asked_for(
    work: Path, tmp_path: Path
) -> None:
    assert dfd(*arguments(work, "--temporal", "none"))[0] == 0
    code, output = dfd(*arguments(work, "--temporal", "none", "--out", str(tmp_path / "again")))
    assert code == 0
    assert "trained before, 32 images" in output
    made = [checkpoint.load_card(str(out)) for out in (work / "mine", tmp_path / "again")]
    assert made[0].weights_sha256 == made[1].weights_sha256


def test_a_detector_of_others_is_not_written_over(work: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(checkpoint.resolve("open"), theirs)
    before = (theirs / "card.json").read_bytes()
    mine = arguments(work, "--temporal", "none")
    for _ in range(2):  # by a new run, and by a finished one
        code, output = dfd(*mine, "--out", str(theirs))
        assert code == 2
        assert f"{theirs} holds a detector that was not trained in" in output
        assert dfd(*mine)[0] == 0
    given = ("--work", str(work), "--config", str(work / "train.toml"), "--out", str(theirs))
    code, output = dfd("train", *given, "--temporal-only", str(work / "mine"))
    assert code == 2
    assert "give another --out" in output
    assert (theirs / "card.json").read_bytes() == before


def test_a_run_of_before_goes_on(work: Path) -> None:
    mine = arguments(work, "--temporal", "none")
    assert dfd(*mine)[0] == 0
    account = json.loads((work / "run.json").read_text())
    former = {key: value for key, value in account.items() if key not in ("outs", "media")}
    (work / "run.json").write_text(json.dumps(former))
    assert dfd(*mine, "--images", "40")[0] == 0


def own_pools(work: Path) -> None:
    """Let a test add pools that no other test sees."""
    shared = (work / "pools").resolve()
    (work / "pools").unlink()
    (work / "pools").mkdir()
    for pool in shared.iterdir():
        (work / "pools" / pool.name).symlink_to(pool)


def test_media_that_came_later_are_not_claimed_by_a_run(work: Path) -> None:
    own_pools(work)
    mine = arguments(work, "--temporal", "none")
    assert dfd(*mine)[0] == 0
    shutil.copytree(work / "pools" / "portraits", work / "pools" / "more")
    code, output = dfd(*mine)
    assert code == 2
    assert "a run on other media (changed since: pool more)" in output


def test_pools_of_another_margin_are_refused(work: Path) -> None:
    own_pools(work)
    pool = pools.work_pool(work, "portraits")
    faces = [
        Face(np.array(pool.patches[i]), pool.landmarks[i], 64.0, f"{i}.png", 0, f"p{i}")
        for i in range(8)
    ]
    pools.write(work / "pools" / "wide", faces, 2.5)
    code, output = dfd(*arguments(work))
    assert code == 2
    assert "wide have a margin of 2.5 face sizes, the detector would crop by 2.15" in output


def test_a_network_that_nothing_was_kept_out_of_says_so() -> None:
    assert "Nothing was kept out" in cards._limitations({})[0]
    chance = {"held_out": "labelled", "held_out_auc": {"value": 0.5}}
    assert "No better than chance" in cards._limitations(chance)[0]
    assert not cards._limitations({"held_out": "labelled", "held_out_auc": {"value": 0.8}})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--temporal-only", "open", "--images", "9"), "--temporal-only keeps the frame encoder"),
        (("--synthesis-only", "open", "--minutes", "9"), "leave out --minutes"),
    ],
)
def test_flags_without_use_are_refused(work: Path, flags: tuple[str, ...], told: str) -> None:
    code, output = dfd("train", "--work", str(work), "--out", str(work / "x"), *flags)
    assert code == 2
    assert told in output


def test_averaging_by_a_memory_of_nothing_is_refused(work: Path) -> None:
    given = arguments(work, "--ema", "--dry-run")
    settings = work / "train.toml"
    settings.write_text("ema_decay = 0.0\n" + settings.read_text())
    code, output = dfd(*given)
    assert code == 2
    assert "ema_decay = 0" in output


def test_a_dry_run_without_any_media_is_refused_as_the_run_would_be(tmp_path: Path) -> None:
    code, output = dfd(*arguments(tmp_path, "--dry-run"))
    assert code == 2
    assert "No genuine faces to train on" in output


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('work = "w"\nout = "o"\nseed = 3\n[architecture]\nencoder = "resnet18"')
    given = load({"architecture": {"temporal": "gru"}, "seed": 4}, file)
    assert (given.seed, given.architecture.encoder, given.architecture.temporal) == (
        4,
        "resnet18",
        "gru",
    )


def write_checkpoint(directory: Path, licence: str) -> None:
    architecture = Architecture(encoder="mobilenetv2_035", temporal="none")
    card = checkpoint.ModelCard(
        name="parent",
        version="1",
        description="",
        architecture=architecture,
        preprocessing=checkpoint.Preprocessing(crop_size=64),
        training=checkpoint.Training(
            data=(checkpoint.DataSource(name="faces", licence=licence, n=9),)
        ),
    )
    encoder = FrameEncoder(architecture).state_dict()
    checkpoint.save(directory, card, {f"encoder.{k}": v.numpy() for k, v in encoder.items()})


def test_fine_tuning_takes_over_shape_and_ancestry(work: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    write_checkpoint(parent, "CC0")
    given = TrainConfig(work=work, out=work / "o", initial_weights=parent)
    settled = initial.inherit(given)
    assert settled.architecture.encoder == "mobilenetv2_035"
    assert settled.preprocessing.crop_size == 64
    assert [s.name for s in initial.ancestry(settled)] == ["faces"]
    wanted = checkpoint.load(str(parent)).part("encoder")["head.weight"]
    assert (initial.build(settled).head.weight.detach().numpy() == wanted).all()


def test_an_encoder_alone_becomes_a_whole_detector_unless_one_without_is_asked_for(
    work: Path, tmp_path: Path
) -> None:
    parent = tmp_path / "parent"
    write_checkpoint(parent, "CC0")
    places = {"work": work, "out": work / "o", "initial_weights": parent}
    assert initial.inherit(TrainConfig(**places)).architecture.temporal == "lstm"
    without = TrainConfig(**places, architecture={"temporal": "none"})
    assert initial.inherit(without).architecture.temporal == "none"


def test_closed_ancestry_is_refused_to_an_open_detector(work: Path, tmp_path: Path) -> None:
    for licence in ("research only", "CC BY-NC 4.0"):
        write_checkpoint(tmp_path / "parent", licence)
        code, output = dfd(*arguments(work, "--init", str(tmp_path / "parent"), "--open"))
        assert code == 2
        assert f"learned from media under '{licence}'" in output


def test_open_keeps_open_licences_alone(tmp_path: Path) -> None:
    config = TrainConfig(work=tmp_path, out=tmp_path, licences=OPEN_LICENCES)
    assert config.allows("CC BY 4.0")
    assert config.allows("Unsplash licence (by file name)")
    assert not config.allows("CC BY-NC-SA 4.0")
    assert not config.allows("")
    assert TrainConfig(work=tmp_path, out=tmp_path).allows("")


RESTRICTED = [
    "CC BY-NC 4.0",
    "CC BY-ND",
    "CC BY-NonCommercial 4.0",
    "CC BY Non-Commercial",
    "CC BY-NoDerivatives",
    "CC BY-NoDerivs 3.0",
    "CC BY-noncommercial",
    "CC BY-nc",
]


@pytest.mark.parametrize("licence", RESTRICTED)
def test_a_restricted_licence_is_used_only_by_a_word_that_says_so(tmp_path: Path, licence) -> None:
    def allows(*words: str) -> bool:
        return TrainConfig(work=tmp_path, out=tmp_path, licences=words).allows(licence)

    assert not allows(*OPEN_LICENCES)
    assert not allows("CC BY")
    assert allows(*OPEN_LICENCES, licence)
    assert allows(licence[6:])


def test_one_restriction_named_does_not_allow_another(tmp_path: Path) -> None:
    config = TrainConfig(work=tmp_path, out=tmp_path, licences=("CC BY-NC", "CC BY"))
    assert config.allows("CC BY-NC 4.0") and config.allows("CC BY-NC-SA 4.0")
    assert config.allows("CC BY-SA 4.0")
    assert not config.allows("CC BY-NC-ND 4.0")
    assert not config.allows("CC BY-ND 4.0")


def licensed(root: Path, licences: list[str]) -> Path:
    """Write a pool with one genuine face under each licence, none of them held out."""
    groups = [g for g in map(str, range(40)) if not pools.is_held_out(g)]
    blank, points = np.zeros((80, 80, 3), np.uint8), np.mgrid[:68, :2][0].astype(np.float32)
    made = [
        pools.Face(blank, points, 64, group, 0, group, licence=licence)
        for group, licence in zip(groups, licences, strict=False)
    ]
    pools.write(root / "work/pools/mine", made)
    return root / "work"


def test_media_under_other_licences_are_named(tmp_path: Path) -> None:
    held = ["CC BY-NC 4.0", "CC BY-NC 4.0", "CC BY-NC 4.0", "a", "a", "b", "c"]
    code, output = dfd(*arguments(licensed(tmp_path, held), "--open", "--dry-run"))
    assert code == 2
    assert "theirs are 'CC BY-NC 4.0', 'a', 'b' … (4); give --licence-like one" in output
    assert "dfd prepare" not in output


def test_media_under_a_restricted_licence_are_used_when_it_is_asked_for(tmp_path: Path) -> None:
    work = licensed(tmp_path, ["CC BY-NC 4.0"] * 8)
    code, output = dfd(
        *arguments(work, "--licence-like", "CC BY-NC", "--temporal", "none", "--dry-run")
    )
    assert code == 0, output


def test_weights_of_another_network_are_refused(work: Path) -> None:
    torch.manual_seed(0)
    good, bad = work / "good.safetensors", work / "bad.safetensors"
    weights = FrameEncoder(Architecture(encoder="mobilenetv2_035")).backbone.state_dict()
    safetensors.torch.save_file(weights, good)
    safetensors.torch.save_file({"a": torch.zeros(1)}, bad)
    given = {"work": work, "out": work, "architecture": {"encoder": "mobilenetv2_035"}}
    built = initial.build(TrainConfig(**given, initial_weights=good))
    assert torch.equal(built.backbone.conv_stem.weight, weights["conv_stem.weight"])
    code, output = dfd(*arguments(work, "--init", str(bad)))
    assert code == 2
    assert "does not hold the weights of mobilenetv2_035" in output


@pytest.mark.parametrize("encoder", ["vgg11", "legacy_xception", "convnext_atto"])
def test_families_of_encoders_can_begin(work: Path, encoder: str) -> None:
    given = TrainConfig(work=work, out=work, architecture=Architecture(encoder=encoder))
    vectors, logits = initial.build(given).eval()(torch.zeros(1, 3, 96, 96))
    assert vectors.shape[0] == logits.shape[0] == 1


@pytest.mark.parametrize("encoder", ["vgg11", "mobilenetv2_035"])
def test_pretrained_weights_of_timm_are_taken_over(
    work: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model
    made = {}

    def offline(name: str, pretrained: bool = False, **more: Any) -> torch.nn.Module:
        model = create(name, pretrained=False, **more)
        if pretrained:
            made.update(model.state_dict())
        return model

    monkeypatch.setattr(timm, "create_model", offline)
    given = TrainConfig(
        work=work, out=work, architecture=Architecture(encoder=encoder), initial_weights="timm"
    )
    built = initial.build(given).backbone.state_dict()
    assert built and all(torch.equal(built[name], made[name]) for name in built)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "loaders"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_a_stopped_training_goes_on_to_the_same_weights(
    work: Path, tmp_path: Path, toy_pools: Path, number: int, loaders: int
) -> None:
    more = ("--temporal", "none", "--images", "160", "--optimizer", "sam")
    command = [sys.executable, "-u", "-m", "dfd_batch.cli"]
    given = arguments(work, *more)
    settings = work / "train.toml"
    settings.write_text(settings.read_text().replace("loaders = 0", f"loaders = {loaders}"))
    training = subprocess.Popen(
        [*command, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    assert training.stdout is not None
    first = training.stdout.readline()
    assert "images" in first
    os.killpg(training.pid, number)  # as a terminal and a container do: to its children as well
    rest, _ = training.communicate(timeout=120)
    assert training.returncode == 130, rest
    assert "Run the same command again to go on." in rest
    stopped = torch.load(work / "state.pt", weights_only=True)["progress"]["step"]
    assert 0 < stopped < 20
    assert dfd(*arguments(work, *more))[0] == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "pools").symlink_to(toy_pools)
    assert dfd(*arguments(other, *more))[0] == 0
    ours, theirs = (checkpoint.load(str(w / "last")).weights for w in (work, other))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
