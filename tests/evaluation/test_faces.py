from __future__ import annotations

import numpy as np

from dfd_batch.evaluation import operations, robustness
from dfd_batch.evaluation.crops import Faces, labelled_faces
from dfd_batch.training import pools

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
    faces = labelled_faces(pools.read(pool), SIZE, 5)
    assert faces.crops.shape == (10, SIZE, SIZE, 3)
    assert faces.labels.sum() == 5
    assert len(set(faces.groups)) > 5


def test_curves_begin_at_what_is_and_fall_as_crops_get_worse():
    judge = Checkerboard()
    found = {c.name: c for c in robustness.curves(judge, checkered(10), "d", n_draws=20)}
    assert list(found) == ["as it is", "JPEG", "H.264", "resize", "blur", "noise"]
    values = {name: [p.auc.value for p in c.points] for name, c in found.items()}
    assert values["as it is"] == [1]
    assert values["resize"][0] == values["blur"][0] == values["noise"][0] == 1
    traces = iter([Checkerboard()(list(seen))[1::2].mean() for seen in judge.seen])
    left = {name: [next(traces) for _ in c.points] for name, c in found.items()}
    for name in ("JPEG", "H.264", "resize", "blur"):
        assert left[name][-1] < left["as it is"][0] / 2, name
    assert [p.x for p in found["JPEG"].points] == [95, 75, 50, 30]
    assert len(judge.seen) == sum(len(c.points) for c in found.values())
    clean, noisy = judge.seen[0].astype(float), judge.seen[-1].astype(float)
    assert 15 < (noisy - clean).std() < 25
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
    assert {len(p.objects[0]) for p in first if p.media == "video"} == {operations.CLIP_FRAMES}
