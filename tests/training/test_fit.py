from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture, Preprocessing
from dfd_batch.features.cnn import FrameEncoder, load_part
from dfd_batch.training import (
    clip_features,
    clips,
    datasets,
    evaluate,
    looks,
    pools,
    selection,
    temporal,
    temporal_head,
)
from dfd_batch.training import held_out as held_out_faces
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import PairBatches
from dfd_batch.training.depthwise import StridedDepthwise, speed_up
from dfd_batch.training.fit import EncoderRun
from dfd_batch.training.optimise import twin_loss


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def config(work: Path, **changes: object) -> TrainConfig:
    settings = {
        "data": work,
        "work": work,
        "out": work / "mine",
        "architecture": Architecture(encoder="mobilenetv2_035", hidden=16),
        "preprocessing": Preprocessing(crop_size=48),
        "batch_pairs": 4,
        "images": 48,
        "look_images": 10_000,
        "warmup_images": 16,
        "threads": 1,
        "loaders": 0,
        "clip_frames": 6,
        **changes,
    }
    return TrainConfig.model_validate(settings)


def test_a_batch_depends_on_seed_and_step_alone(work: Path) -> None:
    one, same, other = (PairBatches(config(work, seed=s), 5) for s in (0, 0, 1))
    assert torch.equal(one[3][0], same[3][0])
    assert not torch.equal(one[3][0], one[2][0])
    assert not torch.equal(one[3][0], other[3][0])
    assert one[3][1].tolist() == [0, 1] * 4


def test_labelled_pairs_share_their_augmentation(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(datasets.UNEQUAL_SHARE, "labelled", 0.0)
    # Where a fake equals its source, so do their crops: any difference is the manipulation's.
    batches = PairBatches(config(work, labelled_share=1.0, generated_share=0.0), 4)
    pool = pools.read(work / "pools" / "dfdc")
    same = np.repeat(pool.patches[pool.labels == 0], 2, axis=0)
    batches._pools["dfdc"] = replace(pool, patches=same)
    for step in range(4):
        crops, _ = batches[step]
        assert torch.equal(crops[::2], crops[1::2])


def test_faces_to_swap_in_are_other_peoples_and_never_black(
    work: Path, tmp_path: Path, toy_pools: Path
) -> None:
    own = tmp_path / "own"
    (own / "pools").mkdir(parents=True)
    pool = pools.read(toy_pools / "dfdc")
    for path in (toy_pools / "dfdc").iterdir():
        (own / "pools" / "dfdc").mkdir(exist_ok=True)
        (own / "pools" / "dfdc" / path.name).symlink_to(path)
    np.where(pool.labels[:, None, None, None] == 0, pool.patches, 0).astype(np.uint8).tofile(
        own / "pools" / "dfdc" / "redrawn.u8"  # as it is made: fakes stay black
    )
    batches = PairBatches(config(own), 1)
    donors = [batches._donor("dfdc", 0, np.random.default_rng(seed)) for seed in range(60)]
    assert min(donor.image.mean() for donor in donors) > 20
    known = {patch.tobytes(): group for patch, group in zip(pool.patches, pool.groups, strict=True)}
    assert pool.groups[0] not in {known[donor.image.tobytes()] for donor in donors}


def test_every_epoch_shows_each_labelled_pair_once(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = PairBatches(config(work, labelled_share=0.5, generated_share=0.0), 100)
    drawn: list[int] = []
    pair = batches.labelled_pair

    def spied(place: int) -> tuple[str, int, int]:
        drawn.append(place)
        return pair(place)

    monkeypatch.setattr(batches, "labelled_pair", spied)
    n = 0
    while len(drawn) < 24:
        batches[n]
        n += 1
    assert 2 * len(drawn) == n * config(work).batch_pairs
    assert len({pair(place) for place in drawn[:24]}) == 24


def test_training_reads_no_development_data(work: Path, toy_pools: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (alone / "pools").mkdir(parents=True)
    for name in ("dfdc", "portraits", "clips", "generated"):
        (alone / "pools" / name).symlink_to(toy_pools / name)
    with_dev, without = PairBatches(config(work), 3), PairBatches(config(alone), 3)
    assert all(torch.equal(with_dev[i][0], without[i][0]) for i in range(3))


def test_held_out_groups_are_never_drawn(work: Path) -> None:
    pool = pools.read(work / "pools" / "portraits")
    trained, kept = pool.rows(0, False), pool.rows(0, True)
    assert len(kept)
    assert not {pool.groups[i] for i in trained} & {pool.groups[i] for i in kept}
    assert len(trained) + len(kept) == len(pool)


def test_faces_are_measured_that_no_training_uses(work: Path, tmp_path: Path) -> None:
    used = selection.used_rows(config(work))
    for name in ("dfdc", "dfdc_dev", "portraits"):
        pool = pools.read(work / "pools" / name)
        trained = set(used[name][1].tolist()) if name in used else set()
        measured = {i for of in (0, 1) for i in selection.measured_rows(name, pool, of).tolist()}
        assert not trained & measured and len(trained) + len(measured) == len(pool)
    alone = tmp_path / "alone"
    (alone / "pools").mkdir(parents=True)
    (alone / "pools" / "dfdc").symlink_to(work / "pools" / "dfdc")
    assert held_out_faces.faces(config(alone)) is None


def test_a_pool_of_a_test_split_is_never_opened(work: Path, tmp_path: Path) -> None:
    faces = [
        pools.Face(np.zeros((8, 8, 3), np.uint8), np.zeros((68, 2)), 8, "f", 0, "g", split=split)
        for split in ("train", "test")
    ]
    for name, some in (("mine", faces), ("mine_test", faces[1:])):
        pools.write(tmp_path / "own" / "pools" / name, some)
    assert list(selection.training_pools(tmp_path / "own")) == ["mine"]


@pytest.mark.parametrize(
    "changes",
    [
        {"ema_decay": 0.0},
        {"optimizer": "sam", "adversarial_share": 0.5},
        {"start_share": 0.5},
    ],
)
def test_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, work: Path, toy_pools: Path, changes: dict[str, object]
) -> None:
    whole = EncoderRun(config(work, **changes))
    assert whole.run()
    other = tmp_path / "other"
    other.mkdir()
    (other / "pools").symlink_to(toy_pools)
    assert not EncoderRun(config(other, **changes)).run(until_step=2)
    torch.rand(7)  # whatever happens in between must not matter
    second = EncoderRun(config(other, **changes))
    assert second.progress.step == 2
    assert not second.run(stop=lambda: second.progress.step == 5)
    second = EncoderRun(config(other, **changes))
    assert second.progress.step == 5
    assert second.run()
    assert second.progress.step == whole.progress.step == 6
    for ours, theirs in ((whole.model, second.model), (whole.average, second.average)):
        pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert whole.progress.history[-1]["loss"] == second.progress.history[-1]["loss"]


def test_kept_weights_lie_between_the_start_and_what_was_learned(
    tmp_path: Path, toy_pools: Path
) -> None:
    def trained(name: str, **changes: object) -> dict[str, np.ndarray]:
        work = tmp_path / name
        work.mkdir()
        (work / "pools").symlink_to(toy_pools)
        EncoderRun(config(work, **changes)).run()
        return checkpoint.load(str(work / "best")).weights

    start = trained("start", images=16)
    tuning = {"initial_weights": tmp_path / "start" / "best", "seed": 1, "learning_rate": 5e-3}
    learned, half = trained("whole", **tuning), trained("half", start_share=0.5, **tuning)
    name = max(
        (k for k in start if start[k].dtype.kind == "f"),
        key=lambda k: float(np.abs(learned[k] - start[k]).max()),
    )
    assert np.abs(learned[name] - start[name]).max() > 0.01
    between = (start[name].astype(float) + learned[name]) / 2
    assert np.abs(half[name] - between).max() < 0.1 * np.abs(learned[name] - start[name]).max()


def test_shares_of_a_batch_are_the_whole_batch(work: Path) -> None:
    whole, _ = PairBatches(config(work), 2)[1]
    shares = [PairBatches(config(work), 2, rank, 3)[1] for rank in range(3)]
    assert [len(labels) for _, labels in shares] == [4, 2, 2]
    for rank, (crops, labels) in enumerate(shares):
        assert labels.tolist() == [0, 1] * (len(labels) // 2)
        assert torch.equal(crops, whole.view(4, 2, *whole.shape[1:])[rank::3].flatten(0, 1))


def test_a_finished_run_is_left_as_it_is(work: Path) -> None:
    assert EncoderRun(config(work, images=16)).run()
    looks = (work / "looks.jsonl").read_text()
    assert EncoderRun(config(work, images=16)).run()
    assert (work / "looks.jsonl").read_text() == looks


def test_a_finished_run_is_written_where_it_is_wanted_next(work: Path) -> None:
    assert EncoderRun(config(work, images=16)).run()
    assert EncoderRun(config(work, images=16, out=work / "other")).run()
    first, second = (checkpoint.load(str(work / name)) for name in ("mine", "other"))
    assert first.weights.keys() == second.weights.keys()
    assert all(np.array_equal(first.weights[k], second.weights[k]) for k in first.weights)


def test_looks_at_other_media_are_not_compared(tmp_path: Path, toy_pools: Path, work: Path) -> None:
    alone = tmp_path / "alone"
    (alone / "pools").mkdir(parents=True)
    (alone / "pools" / "portraits").symlink_to(toy_pools / "portraits")
    run = EncoderRun(config(alone, images=16))
    run.run()
    run.progress.best = 2.0  # as if forged faces had been easier than labelled ones are
    run.save()
    (alone / "pools" / "dfdc_dev").symlink_to(toy_pools / "dfdc_dev")
    assert EncoderRun(config(alone, images=32)).run()
    card = checkpoint.load_card(str(alone / "best"))
    assert card.training.images_seen == 32
    assert card.metrics[0].data.startswith("labelled/dfdc")


def test_swaps_without_their_source_are_learned_beside_somebody_elses_face(
    tmp_path: Path, toy_pools: Path
) -> None:
    own = tmp_path / "own"
    toys = pools.read(toy_pools / "portraits")
    faces = [
        pools.Face(
            np.array(toys.patches[i]), toys.landmarks[i], 64.0, f"{i}", i % 2, f"{i}",
            split="train", swapped=i % 2 == 1,
        )
        for i in range(len(toys))
    ]  # fmt: skip
    pools.write(own / "pools" / "wild", faces)
    batches = PairBatches(config(own), 4)
    assert (batches.n_labelled, batches.n_generated) == (12, 0)
    pool = pools.read(own / "pools" / "wild")
    name, genuine, fake = batches.labelled_pair(0)
    assert (name, pool.labels[genuine], pool.labels[fake]) == ("wild", 0, 1)


def test_a_look_at_generated_faces_needs_portraits_beside_them(
    tmp_path: Path, toy_pools: Path, work: Path
) -> None:
    encoder = FrameEncoder(config(work).architecture)
    assert "generated_auc" in looks.look(encoder, config(work))
    for names in (("generated", "clips"), ("generated", "dfdc")):
        alone = tmp_path / "-".join(names)
        (alone / "pools").mkdir(parents=True)
        for name in names:
            (alone / "pools" / name).symlink_to(toy_pools / name)
        assert "generated_auc" not in looks.look(encoder, config(alone))


def test_without_a_development_set_held_out_groups_choose(
    tmp_path: Path, toy_pools: Path, work: Path
) -> None:
    for names, kind in ((("generated",), "labelled"), ((), "forged")):
        alone = tmp_path / kind
        (alone / "pools").mkdir(parents=True)
        for name in ("portraits", *names):
            (alone / "pools" / name).symlink_to(toy_pools / name)
        run = EncoderRun(config(alone, images=16))
        run.run()
        entry = run.progress.history[-1]
        assert entry["held_out"] == kind
        assert 0 <= entry["held_out_auc"]["value"] <= 1
        assert entry["held_out_auc"]["n"] >= 4
        card = checkpoint.load_card(str(alone / "best"))
        assert [m.data for m in card.metrics] == [
            f"held-out groups of the training pools, faces; chosen on it ({kind} fakes)"
        ]


def test_toy_training_learns_and_leaves_a_complete_checkpoint(work: Path) -> None:
    settings = config(
        work,
        labelled_share=1.0,
        generated_share=0.0,
        batch_pairs=8,
        images=800,
        learning_rate=2e-3,
        ema_decay=0.9,
        architecture=Architecture(encoder="resnet10t"),
        dropout=0.0,
        drop_path=0.0,
    )
    run = EncoderRun(settings)
    run.run()
    found = run.progress.history[-1]
    assert found["dfdc_auc"]["low"] > 0.6
    kept = checkpoint.load(str(settings.out))
    assert kept.card.training.images_seen == 800
    assert kept.card.limitations[0].startswith("Chosen on")
    # bands and pooling are of what was measured, for a detector that stays without a temporal head
    assert kept.card.pooling.strategy == "mean"
    pool = pools.read(work / "pools" / "dfdc_dev")
    encoder = FrameEncoder(kept.card.architecture)
    load_part(encoder, kept, "encoder")
    crops = pools.evaluation_crops(pool, 48, np.flatnonzero(pool.labels == 0))
    genuine = evaluate.probability(
        looks.logits(encoder, crops, settings), kept.card.image_calibration
    )
    bands = kept.card.thresholds
    assert 0 < bands.inconclusive <= bands.suspicious <= bands.manipulated
    assert np.mean(genuine >= bands.suspicious) <= settings.target_fpr + 1 / len(genuine)
    assert {s.name for s in kept.card.training.data} >= {"DFDC training-set face crops"}
    assert (work / "curves.png").stat().st_size > 1000


def test_temporal_head_is_added_to_an_encoder(work: Path) -> None:
    settings = config(work, clips=16, temporal_epochs=2, images=16, command="train a")
    EncoderRun(settings).run()
    other = settings.model_copy(update={"command": "train b"})
    card = temporal.add_temporal(other, settings.out, work / "full")
    assert card.training.command == "train a; train b"
    assert card.architecture.temporal == "lstm"
    assert card.video_calibration.n_samples > 0
    assert card.thresholds.suspicious <= card.thresholds.manipulated
    names = checkpoint.load(str(work / "full")).weights
    assert {name.split(".")[0] for name in names} == {"encoder", "temporal"}


def test_clip_pairs_are_of_held_out_speakers_when_asked(work: Path) -> None:
    for held_out in (False, True):
        forge = clips.ClipForge(config(work), held_out)
        for number in range(12):
            pair = forge.pair(number)
            assert pair.genuine.shape == pair.fake.shape == (6, 48, 48, 3)
            if pair.operation != "labelled":
                assert pools.is_held_out(pair.group) is held_out
            else:
                assert pair.group.startswith("dfdc_dev" if held_out else "dfdc-")


def test_fast_depthwise_has_the_gradients_of_the_plain_one() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(6, 6, 3, 2, 1, groups=6, bias=False)
    fast = torch.nn.Conv2d(6, 6, 3, 2, 1, groups=6, bias=False)
    fast.load_state_dict(plain.state_dict())
    assert speed_up(torch.nn.Sequential(fast, torch.nn.Conv2d(6, 6, 3, 2, 1))) == 1
    assert type(fast) is StridedDepthwise
    for size in (11, 12):
        x = torch.randn(2, 6, size, size)
        grads = []
        for layer in (plain, fast):
            layer.zero_grad()
            given = x.clone().requires_grad_()
            layer(given).square().sum().backward()
            grads.append((given.grad, layer.weight.grad))
        for a, b in zip(*grads, strict=True):
            assert torch.allclose(a, b, atol=1e-4)


def test_pair_loss_falls_when_the_fake_rises(work: Path) -> None:
    labels = torch.tensor([0.0, 1.0])
    wrong, right = (
        twin_loss(torch.tensor(odds), labels, config(work)) for odds in ([1.0, -1.0], [-1.0, 1.0])
    )
    assert right < wrong


def test_fresh_temporal_head_answers_as_the_mean_of_the_frames() -> None:
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(0, 1, (60, 6, 24))).astype(np.float16)
    logits = (features.astype(np.float32) @ rng.normal(0, 1, 24)).astype(np.float32)
    logits -= logits.mean()
    labels = np.zeros((60, 6), np.float32)
    alike = ["static"] * 60, ["a"] * 60, [""] * 60
    data = clip_features.ClipFeatures(features, logits, labels, *alike)
    head = temporal_head.TemporalHead(Architecture(hidden=16), 24).eval()
    temporal_head.start_as_mean(head, data)
    found = temporal_head.clip_logits(head, data)
    assert np.corrcoef(found, logits.mean(1))[0, 1] > 0.9
