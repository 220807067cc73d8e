"""What `dfd prepare` says of the media that it leaves to `dfd evaluate`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from dfd_batch.cli import app
from dfd_batch.evaluation import labels
from dfd_batch.settings import Storage
from dfd_batch.training import ingest


def test_the_test_split_is_left_to_a_command_that_takes_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, prepared = tmp_path / "set", []
    for split in ("train", "val", "test"):
        for kind in ("real", "fake"):
            (root / split / kind).mkdir(parents=True)
            (root / split / kind / f"{split}.jpg").touch()

    def made_of(samples: Any, *_: Any, **__: Any) -> Any:
        prepared.extend(sample.split for sample in samples)
        outcomes = {"prepared": len(samples)}
        return SimpleNamespace(outcomes=outcomes, directory=root, n_faces=1, lost=())

    monkeypatch.setattr(ingest, "ingest", made_of)
    done = CliRunner().invoke(app, ["prepare", str(root), "--work", str(tmp_path / "work")])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    told = "test 1 genuine, 1 manipulated; not prepared, `dfd evaluate … --split test` scans them"
    assert told in said
    assert sorted(prepared) == ["train", "train", "val", "val"]
    tested = labels.read(str(root), Storage(), split="test")
    assert tested.splits == {"test": 2} and tested.flattered is None
