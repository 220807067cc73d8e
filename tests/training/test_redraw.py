"""Autoencoders that redraw genuine faces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dfd_batch.training import pools, redraw
from dfd_batch.training.pools import Face, Pool


@pytest.fixture
def work(tmp_path: Path) -> Path:
    ramp = np.linspace(0, 255, 128, dtype=np.uint8)
    picture = np.stack([np.tile(ramp, (128, 1)), np.tile(ramp[:, None], (1, 128))] * 2, -1)[..., :3]
    faces = (
        Face(picture, np.zeros((68, 2), np.float32), 100.0, f"{k}.png", k % 2, str(k))
        for k in range(6)
    )
    pools.write(tmp_path / "pools" / "dfdc", faces)
    return tmp_path


@pytest.mark.parametrize("name", redraw.KINDS)
def test_every_kind_draws_a_picture_of_the_same_shape(name: str) -> None:
    model = redraw.Redrawer(redraw.KINDS[name])
    assert model(torch.zeros(2, 3, 64, 96)).shape == (2, 3, 64, 96)


def test_training_brings_the_drawing_nearer_to_the_picture(work: Path) -> None:
    # Stripes: colours are kept anyway, what has to be learned is the drawing.
    stripes = np.broadcast_to(np.arange(128) // 4 % 2 * 120 + 60, (128, 128))
    picture = np.repeat(stripes[..., None], 3, -1).astype(np.uint8)
    face = Face(picture, np.zeros((68, 2), np.float32), 100.0, "stripes.png", 0, "stripes")
    pools.write(work / "pools" / "striped", [face])
    pool = pools.read(work / "pools" / "striped")

    def error(steps: int) -> float:
        used = [(pool, np.arange(len(pool)))]
        model = redraw.fit(redraw.KINDS["nearest-4"], used, steps, seed=0)
        return float(np.abs(redraw.redrawn(model, picture[None]).astype(int) - picture).mean())

    assert error(40) < 0.7 * error(1)


def of(work: Path, *rows: int) -> dict[str, tuple[Pool, NDArray[np.int64]]]:
    """The pool with some of its rows used, all if none are named."""
    pool = pools.read(work / "pools" / "dfdc")
    return {"dfdc": (pool, np.array(rows or range(len(pool)), np.int64))}


def test_genuine_faces_are_redrawn_once_and_fakes_never(work: Path) -> None:
    redraw.redraw(work, of(work), steps=1)
    pool = pools.read(work / "pools" / "dfdc")
    drawn = redraw.read(work, "dfdc", pool)
    assert drawn is not None
    assert [bool(face.any()) for face in drawn] == [label == 0 for label in pool.labels]
    before = (work / "pools" / "dfdc" / "redrawn.u8").stat().st_mtime_ns
    redraw.redraw(work, of(work), steps=1)
    assert (work / "pools" / "dfdc" / "redrawn.u8").stat().st_mtime_ns == before


def test_autoencoders_learn_from_used_rows_alone_and_draw_all(work: Path) -> None:
    def learned() -> dict[str, torch.Tensor]:
        for path in [*work.glob("*.pt"), *work.glob("pools/dfdc/redrawn*")]:
            path.unlink()
        redraw.redraw(work, of(work, 0, 1, 2), steps=2)
        weights: dict[str, torch.Tensor] = torch.load(work / "redraw-nearest-4-2-0.pt")
        return weights

    def blacken(row: int) -> None:
        np.memmap(work / "pools/dfdc/patches.u8", np.uint8, "r+", shape=(6, 128, 128, 3))[row] = 0

    before = learned()
    blacken(4)
    after = learned()
    assert all(torch.equal(before[name], after[name]) for name in before)
    drawn = redraw.read(work, "dfdc", pools.read(work / "pools" / "dfdc"))
    assert drawn is not None and drawn[4].any()  # held out, to be measured on
    blacken(2)
    assert not all(torch.equal(before[name], weight) for name, weight in learned().items())


def test_what_some_media_taught_is_not_taken_for_others(work: Path) -> None:
    pool = pools.read(work / "pools" / "dfdc")
    redraw.redraw(work, of(work, 0), steps=1, mark="-open")
    assert redraw.read(work, "dfdc", pool, "") is None
    assert redraw.read(work, "dfdc", pool, "-open") is not None
    assert redraw.read(work, "dfdc", pool) is not None  # good enough to look at
    redraw.redraw(work, of(work), steps=1)
    marked, plain = (torch.load(work / f"redraw-nearest-4-1-0{mark}.pt") for mark in ("-open", ""))
    assert not all(torch.equal(marked[name], plain[name]) for name in plain)
