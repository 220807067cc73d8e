import numpy as np
import pytest
import torch

from dfd_batch.checkpoint import Architecture, ModelCard, Preprocessing, load, save
from dfd_batch.features.cnn import Embedder, FrameEncoder, manipulated_logit
from dfd_batch.outcomes import UsageError

ENCODERS = {
    "legacy_xception": 2048,
    "resnet50": 2048,
    "vgg16": 512,
    "vgg19": 512,
    "inception_v3": 2048,
    "efficientnet_b0": 1280,
    "efficientnet_b4": 1792,
    "mobilenetv2_100": 1280,
}


def checkpoint(tmp_path, architecture, size=96):
    torch.manual_seed(0)
    encoder = FrameEncoder(architecture)
    weights = {f"encoder.{k}": v.numpy() for k, v in encoder.state_dict().items()}
    card = ModelCard(
        name="test",
        version="1",
        description="",
        architecture=architecture,
        preprocessing=Preprocessing(crop_size=size),
    )
    save(tmp_path / "detector", card, weights)
    return load(str(tmp_path / "detector"))


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("name", ENCODERS)
def test_every_named_encoder_saves_loads_and_embeds(tmp_path, name, output):
    architecture = Architecture(
        encoder=name, output=output, classes=("genuine", "swap", "reenacted")
    )
    crops = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    vectors, logits = Embedder(checkpoint(tmp_path, architecture), "cpu", 2)(crops)
    assert vectors.shape == (3, ENCODERS[name]) and vectors.dtype == np.float16
    assert logits.shape == (3,) and np.isfinite(logits).all()
    assert np.ptp(vectors.astype(np.float32), axis=0).max() > 0


def test_an_encoder_without_a_feature_map_is_a_usage_error():
    encoder = FrameEncoder(Architecture(encoder="vit_tiny_patch16_224"))
    with pytest.raises(UsageError, match=r"vit_tiny_patch16_224 gives no feature map .* a CNN"):
        encoder(torch.zeros(1, 3, 224, 224))


def test_micro_batches_change_nothing_and_no_crops_is_no_features(tmp_path):
    saved = checkpoint(tmp_path, Architecture(encoder="mobilenetv2_100"))
    crops = np.random.default_rng(1).integers(0, 256, (5, 96, 96, 3), np.uint8)
    one, many = Embedder(saved, "cpu", 1)(crops), Embedder(saved, "cpu", 64)(crops)
    np.testing.assert_allclose(one[1], many[1], atol=0.02)
    vectors, logits = Embedder(saved, "cpu")(crops[:0])
    assert vectors.shape == (0, 1280) and logits.shape == (0,)


def test_softmax_log_odds_agree_with_the_class_probabilities():
    logits = torch.tensor([[2.0, 0.5, 1.0], [-1.0, 3.0, 0.0]])
    odds = manipulated_logit(logits, Architecture(output="softmax"))
    torch.testing.assert_close(torch.sigmoid(odds), 1 - logits.softmax(1)[:, 0])


def test_crops_of_another_size_are_refused(tmp_path):
    saved = checkpoint(tmp_path, Architecture(encoder="mobilenetv2_100"))
    with pytest.raises(ValueError, match="96"):
        Embedder(saved, "cpu")(np.zeros((1, 64, 64, 3), np.uint8))


def test_an_unknown_encoder_is_a_usage_error():
    with pytest.raises(UsageError, match="no_such_net"):
        FrameEncoder(Architecture(encoder="no_such_net"))


def test_what_spills_over_in_half_precision_is_computed_again_in_full(tmp_path):
    saved = checkpoint(tmp_path, Architecture(encoder="mobilenetv2_035"))
    embed = Embedder(saved, "cpu", 2, views=2)
    embed._narrow = True  # as on a GPU
    dark, light = np.zeros((3, 96, 96, 3), np.uint8), np.full((2, 96, 96, 3), 255, np.uint8)

    def encoder(x):
        spills = torch.is_autocast_enabled("cpu") & (x.mean((1, 2, 3)) > 0)
        odds = torch.where(spills, torch.inf, x.mean((1, 2, 3)))
        return x.flatten(1)[:, :1280], odds[:, None]

    embed._encoder, embed.feature_dim = encoder, 1280
    vectors, logits = embed(np.concatenate([dark, light]))
    np.testing.assert_allclose(logits, [-1, -1, -1, 1, 1], atol=1e-3)
    assert np.isfinite(vectors).all()


def test_batches_that_a_thread_copies_ahead_come_whole_and_in_order(tmp_path):
    embed = Embedder(checkpoint(tmp_path, Architecture(encoder="mobilenetv2_035")), "cpu", 4)
    embed._device = torch.device("cuda")  # asked for its kind alone
    crops = np.arange(11, dtype=np.uint8)[:, None].repeat(3, 1)
    batches = list(embed._uploaded(crops))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(batches), crops)
    assert list(embed._uploaded(crops[:0])) == []
