from dataclasses import replace

import pytest

from dfd_batch.checkpoint import Calibration, Metric, ModelCard, OperatingPoint
from dfd_batch.settings import Settings, load
from dfd_batch.site import words
from dfd_batch.site.detectors import JudgedBy
from dfd_batch.site.selection import common_folder


@pytest.mark.parametrize(
    ("score", "told"),
    [
        # odds 19 : 1 of an even archive, times 1 : 999
        (0.95, "about 1.9 %"),
        (0.5, "about 0.1 %"),
        (0.01, "less than 0.1 %"),
        (1.0, "about 50.0 %"),  # held at 0.999: no score is certain
    ],
)
def test_a_score_in_a_rare_archive_follows_bayes(score, told):
    assert words.prior(score)["chance"] == told


def judged(**card):
    known = {"name": "d", "version": "1", "description": "x"}
    return JudgedBy("id", "d 1", Settings(), ModelCard(**known, **card), None)


def test_calibration_is_told_as_it_is():
    assert "not calibrated" in words.calibration(judged())
    done = judged(image_calibration=Calibration(n_samples=800))
    assert "800 samples" in words.calibration(done)
    assert "not on media like these" in words.calibration(done)
    assert words.false_alarms(done, 1000, 3) is None
    gone = JudgedBy("id", "d 1", None, None, None, "It was not found.")
    assert words.calibration(gone) == "d 1: It was not found."


def test_an_operating_point_tells_the_false_alarms_to_expect():
    point = OperatingPoint(
        target_fpr=0.01, n_images=300, n_videos=20, coverage="standard", date="2026-05-04",
        base="d 1", command="dfd calibrate",
    )  # fmt: skip
    rate = Metric(name="false alarm rate, suspicious", data="x", value=0.008, low=0.004, high=0.02,
                  n=320, command="dfd calibrate")  # fmt: skip
    own = judged(
        image_calibration=Calibration(n_samples=800), operating_point=point, metrics=(rate,)
    )
    assert "300 images and 20 videos" in words.calibration(own)
    assert "at most 1 % of such" in words.calibration(own)
    told = words.false_alarms(own, 10_000, 130)
    assert "about 80 of them (40 to 200)" in told and "130 are" in told
    other = replace(own, settings=load({"sampling": {"coverage": "quick"}}))
    assert "does not hold" in words.calibration(other)
    assert words.false_alarms(other, 10_000, 130) is None


def test_no_card_promises_less_than_its_own_figure():
    point = OperatingPoint(
        target_fpr=0.001, n_images=10, n_videos=0, coverage="standard", date="2026-05-04",
        base="d 1", command="dfd calibrate --fpr 0.001 --best-effort",
    )  # fmt: skip
    rate = Metric(
        name="false alarm rate, suspicious", data="x", value=1 / 11, n=10, command="dfd calibrate"
    )
    own = judged(
        image_calibration=Calibration(n_samples=800), operating_point=point, metrics=(rate,)
    )
    assert "at most 9.09091 % of such" in words.calibration(own)


@pytest.mark.parametrize(
    ("uris", "folder"),
    [
        ([], ""),
        (["s3://b/a.mp4"], "s3://b/"),
        (["/m/a/1.mp4", "/m/ab/2.mp4"], "/m/"),
        (["/m/a/1.mp4", "s3://b/2.mp4"], ""),
    ],
)
def test_the_common_folder_ends_at_a_slash(uris, folder):
    assert common_folder(uris) == folder
