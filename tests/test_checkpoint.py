import json

import numpy as np
import pytest

from dfd_batch import checkpoint
from dfd_batch.checkpoint import ModelCard, Thresholds, detector_id
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Faces, Sampling

CARD = ModelCard(name="test", version="1", description="")


def saved(tmp_path):
    weights = {"encoder.a": np.ones((2, 2), np.float32), "temporal.n": np.array([3], np.int64)}
    return checkpoint.save(tmp_path / "d", CARD, weights)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    saved(tmp_path)
    back = checkpoint.load(str(tmp_path / "d"))
    assert back.part("encoder")["a"].dtype == np.float32
    assert (back.part("encoder")["a"] == 1).all()
    assert back.part("temporal")["n"].tolist() == [3]


def test_weights_that_do_not_match_their_card_are_refused(tmp_path):
    saved(tmp_path)
    path = tmp_path / "d" / "model.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)
    with pytest.raises(UsageError, match="sha256"):
        checkpoint.load(str(tmp_path / "d"))


def test_a_card_with_an_unknown_key_is_refused(tmp_path):
    saved(tmp_path)
    path = tmp_path / "d" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "surprise": 1}))
    with pytest.raises(UsageError, match="surprise"):
        checkpoint.load_card(str(tmp_path / "d"))


@pytest.mark.parametrize("name", ["default", "open"])
def test_a_shipped_card_says_each_figure_once_with_its_command(name):
    metrics = checkpoint.load_card(name).metrics
    assert len({(m.name, m.data) for m in metrics}) == len(metrics)
    assert all(m.command and m.n for m in metrics)


def test_a_missing_checkpoint_is_a_sentence_that_names_it():
    with pytest.raises(UsageError, match="'nowhere'"):
        checkpoint.load("nowhere")


def test_the_detector_id_follows_everything_a_verdict_depends_on():
    base = detector_id(CARD, Sampling(), Faces())
    assert base == detector_id(CARD, Sampling(), Faces())
    assert base != detector_id(CARD, Sampling(coverage="quick"), Faces())
    assert base != detector_id(CARD, Sampling(), Faces(min_face_px=50))
    stricter = CARD.model_copy(update={"thresholds": Thresholds(manipulated=0.95)})
    assert base != detector_id(stricter, Sampling(), Faces())
    assert base != detector_id(CARD.model_copy(update={"weights_sha256": "x"}), Sampling(), Faces())
    hedged = CARD.pooling.model_copy(update={"encoder_weight": 0.5})
    assert base != detector_id(CARD.model_copy(update={"pooling": hedged}), Sampling(), Faces())
    # what does not change a verdict does not send an archive through the GPUs again
    assert base == detector_id(
        CARD.model_copy(update={"description": "other"}), Sampling(), Faces()
    )
