"""What takes long to make goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfd_batch.training import kept
from dfd_batch.training.kept import Pair, kept_pairs


def pair(number: int) -> Pair:
    values = np.random.default_rng(number).normal(size=(2, 3, 5)).astype(np.float16)
    return values, {"labels": np.full(3, number, np.float32), "operation": f"o{number}"}


class Maker:
    """Makes pairs until it is stopped."""

    def __init__(self, stop_at: int = 10_000) -> None:
        self.asked: list[range] = []
        self._stop_at = stop_at

    def __call__(self, numbers: range) -> Iterator[Pair]:
        self.asked.append(numbers)
        for number in numbers:
            if number == self._stop_at:
                raise KeyboardInterrupt
            yield pair(number)


def check(found: tuple[Any, dict[str, Any]], n: int) -> None:
    values, known = found
    assert values.dtype == np.float16
    np.testing.assert_array_equal(values, np.stack([pair(i)[0] for i in range(n)]))
    np.testing.assert_array_equal(
        known["labels"], np.stack([pair(i)[1]["labels"] for i in range(n)])
    )
    assert known["operation"].tolist() == [f"o{i}" for i in range(n)]


def test_making_goes_on_after_the_last_pairs_that_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "EVERY", 4)
    stem = tmp_path / "clips-1.5"  # a dot is no suffix
    with pytest.raises(KeyboardInterrupt):
        kept_pairs(stem, 20, Maker(stop_at=11), "pairs")
    again = Maker()
    check(kept_pairs(stem, 20, again, "pairs"), 20)
    assert again.asked == [range(8, 20)]
    check(kept_pairs(stem, 20, pytest.fail, "pairs"), 20)
    check(kept_pairs(stem, 3, pytest.fail, "pairs"), 3)
    more = Maker()
    check(kept_pairs(stem, 23, more, "pairs"), 23)
    assert more.asked == [range(20, 23)]


@pytest.mark.parametrize("left", [0, 130, None])
def test_values_that_were_lost_are_made_again(tmp_path: Path, left: int | None) -> None:
    stem = tmp_path / "clips"
    kept_pairs(stem, 6, Maker(), "pairs")
    values = tmp_path / "clips.f16"
    if left is None:
        values.unlink()
    else:
        values.write_bytes(values.read_bytes()[:left])
    again = Maker()
    check(kept_pairs(stem, 6, again, "pairs"), 6)
    assert again.asked == [range(left // 60 if left else 0, 6)]
