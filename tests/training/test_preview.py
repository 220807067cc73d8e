from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from dfd_batch.cli import app
from dfd_batch.training import forge_clip, pools
from dfd_batch.training.pools import Face
from tests.training.conftest import face_image, swapped, template


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people's films of 24 frames."""
    work, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    faces = [
        Face(face_image(96, rng), template() * 96, 80.0, who, 0, who, frame=t)
        for who in ("ann", "bob")
        for t in range(24)
    ]
    pools.write(work / "pools" / "films", faces)
    return work


def _run(*flags: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["forge", *flags])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("clips", [False, True])
def test_sheet_shows_genuine_and_forged_faces(prepared: Path, tmp_path: Path, clips: bool) -> None:
    out = tmp_path / "sheet.png"
    flags = ["--preview", str(out), "--work", str(prepared), "--json"]
    code, stdout, _ = _run(*flags, *(["--clips"] if clips else []))
    assert code == 0
    told = json.loads(stdout)
    assert told["pairs"] == (2 * len(forge_clip.OPERATIONS) + 2 if clips else 24)
    assert told["pairs_per_core_s"] > 0
    sheet = cv2.imread(str(out))
    assert sheet is not None
    red = (np.abs(sheet.astype(int) - (40, 40, 220)).max(-1) < 3).sum()
    assert bool(red) == clips  # bars mark the forged frames


def test_labelled_fakes_are_shown_laid_into_their_twins_anew(tmp_path: Path) -> None:
    rng, points, faces = np.random.default_rng(0), template() * 96, []
    for who in ("ann", "bob", "eve"):
        genuine = face_image(96, rng)
        faces += [
            Face(image, points, 80.0, f"{who}{label}", label, who)
            for label, image in enumerate((genuine, swapped(genuine)))
        ]
    pools.write(tmp_path / "pools" / "swaps", faces)
    out = tmp_path / "sheet.png"
    code, stdout, _ = _run("--preview", str(out), "--work", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(stdout)["pairs"] == 30


def test_same_seed_same_sheet_other_seed_other_sheet(prepared: Path, tmp_path: Path) -> None:
    sheets = []
    for seed in ("1", "1", "2"):
        out = tmp_path / f"{len(sheets)}.png"
        assert _run("--preview", str(out), "--work", str(prepared), "--seed", seed)[0] == 0
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_without_prepared_faces_it_says_what_to_run(tmp_path: Path) -> None:
    code, _, told = _run("--preview", str(tmp_path / "s.png"), "--work", str(tmp_path))
    assert code == 2
    assert "dfd prepare" in told
    assert told.count("\n") == 1


def test_stills_alone_make_no_clips(tmp_path: Path) -> None:
    face = Face(face_image(96, np.random.default_rng(0)), template() * 96, 80.0, "a", 0, "a")
    pools.write(tmp_path / "pools" / "portraits", [face])
    out = str(tmp_path / "s.png")
    assert _run("--preview", out, "--work", str(tmp_path))[0] == 0
    code, _, told = _run("--preview", out, "--work", str(tmp_path), "--clips")
    assert code == 2
    assert "consecutive frames" in told


def test_a_sheet_that_cannot_be_written_is_one_sentence(prepared: Path, tmp_path: Path) -> None:
    code, _, told = _run("--preview", str(tmp_path / "no" / "s.png"), "--work", str(prepared))
    assert code == 2
    assert "Cannot write" in told
