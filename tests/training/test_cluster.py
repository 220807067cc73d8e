"""Training by several workers on a real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Architecture, Preprocessing
from dfd_batch.outcomes import UsageError
from dfd_batch.training.cluster import fit_on_ray
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.fit import EncoderRun, Standing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


def config(work: Path, **changes: object) -> TrainConfig:
    settings = {
        "work": work,
        "out": work / "best",
        # no batch norm, whose statistics are each worker's own; no chance inside the network
        "architecture": Architecture(encoder="convnext_atto", temporal="none"),
        "preprocessing": Preprocessing(crop_size=64),
        "dropout": 0.0,
        "drop_path": 0.0,
        "precision": "fp32",
        "device": "cpu",
        "batch_pairs": 5,  # shares of unequal size
        "images": 60,
        "learning_rate": 1e-3,
        "warmup_images": 10,
        "look_images": 10_000,
        "loaders": 0,
        "threads": 1,
        **changes,
    }
    return TrainConfig.model_validate(settings)


def other_work(directory: Path, pools: Path) -> Path:
    directory.mkdir()
    (directory / "pools").symlink_to(pools)
    return directory


@pytest.mark.timeout(600)
def test_two_workers_learn_what_one_learns(
    work: Path, tmp_path: Path, toy_pools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Standing] = []
    monkeypatch.chdir(work.parent)  # Ray's workers stand elsewhere
    shared = config(Path(work.name), workers=2, optimizer="sam")
    assert fit_on_ray(shared, told.append, None)
    alone = other_work(tmp_path / "alone", toy_pools)
    torch.set_num_threads(1)
    single = EncoderRun(config(alone, optimizer="sam"))
    start = {k: v.clone() for k, v in single.model.state_dict().items()}
    assert single.run()
    ours = torch.load(work / "state.pt", weights_only=True)
    assert ours["progress"]["step"] == 6
    moved = difference = 0.0
    for name, weight in single.model.state_dict().items():
        moved += float((weight - start[name]).square().sum())
        difference += float((weight - ours["model"][name]).square().sum())
    assert difference < 1e-4 * moved
    assert told[-1].done == 1
    assert checkpoint.load_card(str(shared.out)).training.images_seen == 60


@pytest.mark.timeout(600)
def test_a_stop_is_agreed_on_and_gone_on_from(work: Path) -> None:
    def stop(standing: Standing) -> None:
        (work / "stop").touch()

    long = config(work, workers=2, images=2_000)
    assert not fit_on_ray(long, stop, None)
    stopped = torch.load(work / "state.pt", weights_only=True)["progress"]["step"]
    assert 0 < stopped < 200
    short = config(work, workers=2, images=10 * (stopped + 2))
    told: list[Standing] = []
    assert fit_on_ray(short, told.append, None)
    assert told[-1].images == 10 * (stopped + 2)


def test_more_workers_than_the_cluster_has_are_refused(work: Path) -> None:
    with pytest.raises(UsageError, match="4 workers want a CPU each, Ray reports 3"):
        fit_on_ray(config(work, workers=4), None, None)
