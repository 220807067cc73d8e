import pytest

from dfd_batch import checkpoint, settings
from dfd_batch.outcomes import UsageError


def test_flags_win_over_environment_over_file_over_defaults(tmp_path, monkeypatch):
    config = tmp_path / "dfd.toml"
    config.write_text('[sampling]\ncoverage = "quick"\nstride = 2\n[limits]\nmax_attempts = 7\n')
    monkeypatch.setenv("DFD_SAMPLING__COVERAGE", "full")
    monkeypatch.setenv("DFD_SAMPLING__STRIDE", "3")
    loaded = settings.load({"sampling": {"coverage": "standard", "stride": None}}, config)
    assert loaded.sampling.coverage == "standard"
    assert loaded.sampling.stride == 3
    assert loaded.limits.max_attempts == 7
    assert loaded.faces == settings.Faces()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            {"sampling": {"coverage": "quik"}},
            ["sampling.coverage", "'quik'", "'quick', 'standard' or 'full'"],
        ),
        (
            {"limits": {"max_attempts": 0}},
            ["limits.max_attempts", "0", "greater than or equal to 1"],
        ),
        ({"limitz": {"max_attempts": 1}}, ["limitz", "no such setting"]),
        ({"faces": {"min_face": 1}}, ["faces.min_face", "no such setting"]),
    ],
)
def test_a_wrong_setting_is_told_by_key_value_and_rule(flags, said):
    with pytest.raises(UsageError) as caught:
        settings.load(flags)
    for part in said:
        assert part in str(caught.value)


def test_an_unknown_variable_and_a_broken_file_are_usage_errors(tmp_path, monkeypatch):
    config = tmp_path / "bad.toml"
    config.write_text("[sampling\n")
    with pytest.raises(UsageError, match="bad.toml"):
        settings.load(config=config)
    with pytest.raises(UsageError, match="no settings file|No settings file"):
        settings.load(config=tmp_path / "absent.toml")
    monkeypatch.setenv("DFD_SAMPLNG__COVERAGE", "full")
    with pytest.raises(UsageError, match="DFD_SAMPLNG__COVERAGE"):
        settings.load()


@pytest.mark.parametrize(
    ("coverage", "limits", "counts"),
    [
        ("standard", {"decode_long_side": 1280}, True),
        ("full", {"max_full_clips": 256}, True),
        ("standard", {"max_full_clips": 256}, False),  # bounds nothing
        ("full", {"timeout_s": 5, "max_pixels": 10, "max_attempts": 9}, False),
        ("full", {"decode_long_side": 1920, "max_full_clips": 85}, False),
    ],
)
def test_limits_that_change_verdicts_are_part_of_the_fingerprint(coverage, limits, counts):
    card = checkpoint.ModelCard(name="test", version="1", description="")
    before = settings.load({"sampling": {"coverage": coverage}})
    after = settings.load({"sampling": {"coverage": coverage}, "limits": limits})
    ids = {checkpoint.detector_id(card, *s.judging) for s in (before, after)}
    assert (len(ids) == 2) == counts
    former = checkpoint.detector_id(card, before.sampling, before.faces, before.features)
    assert (former in ids) == (coverage == "standard")  # full coverage once bounded otherwise


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("DFD_SELECT__EXCLUDE", "*.txt,tmp/**")
    assert settings.load().select.exclude == ("*.txt", "tmp/**")
