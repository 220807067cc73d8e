"""Numbers that go wrong between the crops and the verdict: no verdict then, and no stop."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from dfd_batch import checkpoint
from dfd_batch.features.cnn import Embedder
from dfd_batch.schema import CROPPED
from dfd_batch.settings import Pools, Settings
from dfd_batch.stages import Embed, Judge, RunContext
from tests.e2e.detector import write_detector

SIZE = 96
Row = dict[str, Any]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_detector(tmp_path_factory.mktemp("detector")))


def context(detector: Path, **spoilt: float) -> RunContext:
    """Return the context of a run whose detector has one weight overwritten in each of `spoilt`."""
    saved = checkpoint.load(str(detector))
    weights = {name: array.copy() for name, array in saved.weights.items()}
    for name, value in spoilt.items():
        weights[name].flat[0] = value
    settings = Settings(pools=Pools(device="cpu"))
    whole = checkpoint.Checkpoint(saved.card, weights)
    return RunContext(settings, "", "run", "detector", date(2026, 1, 1), whole)


def cropped(name: str, n: int, media: str = "video", crops: Any = None, **other: Any) -> Row:
    if crops is None:
        crops = np.random.default_rng(len(name)).integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)
    return dict.fromkeys(CROPPED.names) | {
        "media_id": name,
        "uri": f"/{name}",
        "media": media,
        "fps": 25.0 if media == "video" else None,
        "n_crops": n,
        "crops": crops.tobytes(),
        "crop_time_s": [i / 25 for i in range(n)],
        "crop_track": [0] * n,
        "crop_clip": [0] * n,
        "crop_box": [[0.0, 0.0, 40.0, 50.0]] * n,
        "crop_landmarks": [[0.0] * 10] * n,
    } | other  # fmt: skip


def judged(given: RunContext, *rows: Row) -> list[Row]:
    table = Judge(given)(Embed(given)(pa.Table.from_pylist(list(rows), schema=CROPPED)))
    found: list[Row] = table.to_pylist()
    for row in found:
        scored = row["outcome"] == "scored"
        assert (row["probability"] is not None) == (row["verdict"] is not None) == scored
        assert not scored or 0 < row["probability"] < 1
    return found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "weight", ["encoder.head.bias", "temporal.clip.bias", "temporal.frame.bias"]
)
def test_a_network_that_overflows_gives_no_verdict(detector, weight, value):
    video, image = judged(
        context(detector, **{weight: value}), cropped("v", 5), cropped("i", 1, "image")
    )
    assert (video["outcome"], video["error_kind"]) == ("crashed", "not_finite")
    assert "/v" in video["error_message"]
    # the temporal head has no say in images
    assert image["outcome"] == ("crashed" if weight.startswith("encoder") else "scored")


def test_one_objects_numbers_do_not_spoil_its_neighbours(detector):
    given = context(detector)
    rows = [cropped("a", 4), cropped("bad", 3), cropped("ccc", 1)]
    table = Embed(given)(pa.Table.from_pylist(rows, schema=CROPPED))
    whole = Judge(given)(table).to_pylist()
    spoilt = table.to_pylist()
    features = np.frombuffer(spoilt[1]["features"], np.float16).copy()
    features[7] = np.nan
    spoilt[1]["features"] = features.tobytes()
    found = Judge(given)(pa.Table.from_pylist(spoilt, schema=table.schema)).to_pylist()
    assert [row["outcome"] for row in found] == ["scored", "crashed", "scored"]
    for at in (0, 2):
        assert found[at]["probability"] == pytest.approx(whole[at]["probability"], abs=1e-6)


def test_rows_without_crops_pass_and_one_that_should_have_some_is_no_verdict(detector):
    failed = cropped("f", 0, outcome="no_face", error_kind="no_face")
    lost, one = cropped("lost", 0), cropped("one", 1)
    found = judged(context(detector), failed, lost, one)
    assert [row["outcome"] for row in found] == ["no_face", "crashed", "scored"]
    (alone,) = judged(context(detector), failed)
    assert alone["outcome"] == "no_face"


@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("media", ["image", "video"])
def test_a_single_even_crop_is_scored_by_finite_numbers(detector, grey, media):
    crops = np.full((1, SIZE, SIZE, 3), grey, np.uint8)
    (row,) = judged(context(detector), cropped("even", 1, media, crops))
    assert row["outcome"] == "scored" and row["n_frames_scored"] == 1
    assert np.isfinite([face["probability"] for face in row["faces"]]).all()


class SmallDevice:
    """An embedder's forward pass on a device that holds so many crops at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n_crops: int) -> None:
        self.n_held: list[int] = []
        forward = Embedder._forward

        def limited(embedder: Embedder, crops: Any, *more: Any) -> Any:
            if len(crops) > n_crops:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            self.n_held.append(len(crops))
            return forward(embedder, crops, *more)

        monkeypatch.setattr(Embedder, "_forward", limited)


def test_a_device_out_of_memory_takes_smaller_batches(detector, monkeypatch):
    rows = [cropped("a", 7), cropped("bb", 4), cropped("i", 1, "image")]
    whole = judged(context(detector), *rows)
    device = SmallDevice(monkeypatch, 3)
    found = judged(context(detector), *rows)
    assert max(device.n_held) <= 3 and sum(device.n_held) == 12
    for one, other in zip(found, whole, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-3)


def test_a_device_without_any_memory_is_an_outcome_that_is_tried_again(detector, monkeypatch):
    SmallDevice(monkeypatch, 0)
    failed = cropped("f", 0, outcome="no_face")
    found = judged(context(detector), cropped("a", 7), failed)
    assert [row["outcome"] for row in found] == ["crashed", "no_face"]
    assert found[0]["error_kind"] == "out_of_memory"
