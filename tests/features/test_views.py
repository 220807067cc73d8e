import numpy as np
import pytest
import torch

from dfd_batch.checkpoint import load
from dfd_batch.features.cnn import Embedder
from dfd_batch.features.views import NOISE, SOFTEN, object_seeds, view
from tests.e2e.detector import write_detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return load(write_detector(tmp_path_factory.mktemp("detector")))


def crops(n, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 12, 12, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def test_one_view_is_the_crop_itself(detector):
    some = crops(3)
    vectors, logits = Embedder(detector, "cpu", 3)(some)
    seen = Embedder(detector, "cpu", 3, 1)(some, [1, 2])
    np.testing.assert_array_equal(seen[0], vectors)
    np.testing.assert_array_equal(seen[1], logits)


def test_views_follow_from_the_object_s_content_alone(detector):
    one, two = crops(3, 1), crops(2, 2)
    embed = Embedder(detector, "cpu", 4, 3)
    _, together = embed(np.concatenate([one, two]), [3, 0, 2])
    apart = np.concatenate([embed(one, [3])[1], embed(two, [2])[1]])
    np.testing.assert_allclose(together, apart, atol=2e-3)
    changed = two.copy()
    changed[1, 0, 0, 0] ^= 1  # of the last frame: the views of the first change as well
    before, after = object_seeds(two, [2], 3), object_seeds(changed, [2], 3)
    assert before[0] == before[1] != after[0]


def test_answers_are_the_mean_of_views(detector):
    some = crops(4)
    vectors, logits = Embedder(detector, "cpu", 4, 4)(some)
    assert np.ptp(logits - Embedder(detector, "cpu", 4)(some)[1]) > 0
    weight = detector.weights["encoder.head.weight"].astype(np.float32)[0]
    bias = detector.weights["encoder.head.bias"].astype(np.float32)
    # the head is linear: the mean of logits is the logit of the mean features
    np.testing.assert_allclose(logits, vectors.astype(np.float32) @ weight + bias, atol=5e-3)


LEVEL = torch.ones(3)


def test_a_view_moves_a_little_and_is_the_same_within_an_object():
    x = torch.from_numpy(crops(2)).permute(0, 3, 1, 2).float()
    seeds = np.array([5, 5], np.uint64)
    for index in range(8):
        moved = view(x, seeds, index, LEVEL)
        assert moved.shape == x.shape and not torch.equal(moved, x)
        torch.testing.assert_close(moved[1:], view(x[1:], seeds[1:], index, LEVEL))
        # no borders of another colour come in
        assert (moved.mean((2, 3)) - x.mean((2, 3))).abs().max() < 8


def test_a_view_adds_noise_in_the_crops_own_units():
    flat, seeds = torch.zeros(2, 3, 96, 96), np.array([5, 6], np.uint64)
    seen = view(flat, seeds, 1, LEVEL)
    assert SOFTEN * 0.5 * NOISE < float(seen.std()) < NOISE
    assert not torch.equal(seen[0], seen[1])
    torch.testing.assert_close(view(flat, seeds, 1, LEVEL / 127.5), seen / 127.5)
