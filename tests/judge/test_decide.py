import numpy as np
import pytest

from dfd_batch.checkpoint import Architecture, Calibration, Checkpoint, ModelCard
from dfd_batch.judge.decide import Evidence, band, decide
from dfd_batch.judge.frames import Features, FrameJudge, clip_runs
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.judge.pool import calibrated
from dfd_batch.outcomes import Verdict

CARD = ModelCard(name="test", version="1", description="")


def evidence(logits, tracks=None, media="video", alone=None):
    n = len(logits)
    return Evidence(
        media=media,
        fps=25.0 if media == "video" else None,
        times_s=np.arange(n) / 25.0,
        tracks=np.array(tracks if tracks is not None else [0] * n, np.int32),
        boxes=np.tile(np.array([[0, 0, 10, 10]], np.float32), (n, 1)),
        logits=np.array(logits, np.float32),
        frame_logits=np.array(logits if alone is None else alone, np.float32),
    )


def test_a_clearly_manipulated_face_among_genuine_ones_is_found():
    told = decide(
        evidence([-5.0] * 64 + [6.0] * 64 + [-4.0] * 64, [0] * 64 + [1] * 64 + [2] * 64), CARD
    )
    assert told["verdict"] == "manipulated"
    assert told["integrity"] == pytest.approx(1 - told["probability"])
    assert [face["track"] for face in told["faces"]][0] == 1
    assert {s["track"] for s in told["segments"]} == {1}
    assert len(told["timeline"]) == told["n_frames_scored"] == 192


def test_the_verdict_is_pooled_and_the_segments_are_of_frames_by_themselves():
    told = decide(evidence([3.0] * 48, alone=[-4.0] * 24 + [4.0] * 24), CARD)
    assert told["probability"] == pytest.approx(1 / (1 + np.exp(-3.0)))
    (segment,) = told["segments"]
    assert segment["start_s"] == pytest.approx(0.96, abs=0.09)
    assert told["timeline"][0]["probability"] < 0.1 < 0.9 < told["timeline"][-1]["probability"]


def test_what_passes_as_authentic_has_no_segments():
    strict = CARD.model_copy(
        update={
            "thresholds": CARD.thresholds.model_copy(
                update={"inconclusive": 0.6, "suspicious": 0.7, "manipulated": 0.8}
            )
        }
    )
    likely = evidence([0.2] * 48)  # P .55
    assert decide(likely, CARD)["segments"] and not decide(likely, strict)["segments"]


def test_more_genuine_faces_do_not_make_an_object_suspicious():
    one = decide(evidence([-3.0] * 16), CARD)
    eight = decide(evidence([-3.0] * 128, sorted(list(range(8)) * 16)), CARD)
    assert eight["probability"] == pytest.approx(one["probability"])


def test_an_image_has_no_timeline_and_uses_its_own_calibration():
    card = CARD.model_copy(update={"image_calibration": Calibration(slope=2, intercept=1)})
    told = decide(evidence([1.0], media="image"), card)
    assert told["probability"] == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert told["timeline"] == [] and told["segments"] == []


@pytest.mark.parametrize(
    ("p", "verdict"),
    [
        (0.0, "authentic"),
        (0.35, "inconclusive"),
        (0.6, "suspicious"),
        (0.85, "manipulated"),
        (1, "manipulated"),
    ],
)
def test_bands_begin_at_their_threshold(p, verdict):
    assert band(p, CARD.thresholds) is Verdict(verdict)


def test_runs_are_per_track_and_clip_and_at_most_32_frames():
    tracks = np.array([0] * 70 + [1] * 5, np.int32)
    clips = np.array([0] * 70 + [0] * 5, np.int32)
    runs = clip_runs(tracks, clips)
    assert sorted(len(run) for run in runs) == [5, 23, 23, 24]
    assert sorted(np.concatenate(runs)) == list(range(75))


@pytest.mark.parametrize("temporal", ["lstm", "gru"])
def test_videos_go_through_the_temporal_head_and_images_do_not(temporal):
    architecture = Architecture(temporal=temporal, hidden=8)
    head = TemporalHead(architecture, feature_dim=6)
    weights = {f"temporal.{k}": v.numpy() for k, v in head.state_dict().items()}
    card = CARD.model_copy(update={"architecture": architecture})
    judge = FrameJudge(Checkpoint(card, weights), "cpu", feature_dim=6)
    rng = np.random.default_rng(0)

    def features(media, n):
        return Features(
            media,
            rng.normal(size=(n, 6)).astype(np.float16),
            np.full(n, 7, np.float32),
            np.zeros(n, np.int32),
            np.zeros(n, np.int32),
        )

    image, video, empty = features("image", 1), features("video", 20), features("video", 1)
    together = judge([image, video, empty])
    assert together[0].pooled == together[0].alone == 7
    assert not np.isclose(together[1].pooled, 7).any()
    # batching with clips of other lengths changes nothing
    np.testing.assert_allclose(together[1].pooled, judge([video])[0].pooled, atol=1e-5)
    # what is pooled is nearer to its clip's, half-way by default
    apart, spread = np.ptp(together[1].alone), np.ptp(together[1].pooled)
    assert apart > 0 and spread == pytest.approx(apart / 2, rel=1e-3)
    # runs too short for it count as stills do, whatever the two calibrations
    stills, films = Calibration(slope=2.0, intercept=-1.0), Calibration(slope=0.5, intercept=0.25)
    both = {"image_calibration": stills, "video_calibration": films}
    own = FrameJudge(Checkpoint(card.model_copy(update=both), weights), "cpu", feature_dim=6)
    short, enough = own([features("video", 3), features("video", 4)])
    np.testing.assert_allclose(calibrated(short.pooled, films), [13.0] * 3, rtol=1e-5)
    np.testing.assert_array_equal(short.alone, short.pooled)
    assert np.ptp(enough.alone) > 0
    # the frame encoder's own word is added where the card says so
    pooling = card.pooling.model_copy(update={"encoder_weight": 0.5})
    hedged = card.model_copy(update={"pooling": pooling})
    also = FrameJudge(Checkpoint(hedged, weights), "cpu", feature_dim=6)([image, video, empty])
    assert also[0].pooled == 7
    np.testing.assert_allclose(also[1].pooled, together[1].pooled + 3.5, atol=1e-5)
    np.testing.assert_array_equal(also[1].alone, together[1].alone)
