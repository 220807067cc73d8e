import cv2
import numpy as np
import pytest

from dfd_batch.checkpoint import Architecture, load
from dfd_batch.features.cnn import Embedder
from dfd_batch.features.heat import HeatMapper
from dfd_batch.settings import Settings
from tests.e2e.detector import write_detector


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return load(write_detector(tmp_path_factory.mktemp("detector")))


@pytest.fixture(scope="module")
def crops():
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (3, 6, 6, 3), np.uint8)
    return np.stack([cv2.resize(c, (96, 96), interpolation=cv2.INTER_CUBIC) for c in coarse])


def test_the_cells_of_a_map_add_up_to_the_crops_log_odds(checkpoint, crops):
    """Exact for a linear head behind an average pool: what makes maps comparable."""
    cells = HeatMapper(checkpoint).signed(crops)
    _, logits = Embedder(checkpoint, "cpu")(crops)
    bias = float(checkpoint.weights["encoder.head.bias"][0])
    assert cells.sum(axis=(1, 2)) + bias == pytest.approx(logits, abs=0.05)  # bfloat16 there


def test_maps_have_the_crops_size_and_no_negative_heat(checkpoint, crops):
    heat = HeatMapper(checkpoint)(crops)
    assert heat.shape == (3, 96, 96) and heat.dtype == np.float32
    assert (heat >= 0).all() and np.isfinite(heat).all()
    assert HeatMapper(checkpoint)(crops[:0]).shape == (0, 96, 96)


def test_a_softmax_head_is_mapped_too(checkpoint, crops, tmp_path):
    from dfd_batch.checkpoint import save

    architecture = Architecture(
        encoder="mobilenetv2_050", temporal="none", output="softmax", classes=("genuine", "a", "b")
    )
    weights = dict(checkpoint.weights)
    rng = np.random.default_rng(0)
    weights["encoder.head.weight"] = rng.normal(size=(3, 1280)).astype(np.float32)
    weights["encoder.head.bias"] = np.zeros(3, np.float32)
    card = checkpoint.card.model_copy(update={"architecture": architecture})
    heat = HeatMapper(save(tmp_path, card, weights))(crops)
    assert heat.shape == (3, 96, 96) and heat.max() > 0


@pytest.mark.slow
def test_covering_what_glows_costs_more_than_covering_what_does_not():
    """On the shipped detector and a swapped face: the map points at what the score lives on."""
    from dfd_batch.demo import forgeries, photographs
    from dfd_batch.faces.crop import cut, face_square
    from dfd_batch.faces.detect import Detector, Look

    found = load(Settings().checkpoint)
    picture = forgeries.swap(photographs.hopper(), photographs.astronaut())
    (faces,) = Detector().look([picture], Look(640, 30, confidence=0.9))
    preprocessing = found.card.preprocessing
    face = max(faces, key=lambda f: f.height)
    square = face_square(face.landmarks, preprocessing.margin)
    crop = cut(picture, square, preprocessing.crop_size)
    heat = HeatMapper(found)(crop[None])[0]
    soft = cv2.GaussianBlur(crop, (0, 0), 6)  # plain patches would look forged themselves
    most = np.where((heat >= np.quantile(heat, 0.8))[..., None], soft, crop)
    least = np.where((heat <= np.quantile(heat, 0.2))[..., None], soft, crop)
    _, odds = Embedder(found, "cpu")(np.stack([crop, most, least]))
    assert odds[1] < odds[2]
