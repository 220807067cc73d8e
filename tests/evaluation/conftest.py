from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from typer.testing import CliRunner

from dfd_batch.cli import app
from dfd_batch.schema import REPORT
from dfd_batch.training import pools
from dfd_batch.training.pools import Face


def evaluate(*words):
    """Run the command and return its exit code, its words and its document."""
    done = CliRunner().invoke(app, ["evaluate", *map(str, words), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    told = json.loads(done.stdout) if done.stdout.startswith("{") else None
    return done.exit_code, " ".join(done.stderr.split()), told


def report_row(uri, probability, detector="a", **more):
    """Return one row of a report: an image unless told otherwise."""
    row = {
        "media_id": str(uri),
        "uri": str(uri),
        "outcome": "scored" if probability is not None else "no_face",
        "probability": probability,
        "threshold": 0.5,
        "media": "image",
        "size_bytes": 10_000,
        "width": 100,
        "height": 100,
        "faces": [
            {"track": 0, "probability": probability, "box": dict.fromkeys(("x0", "y0"), 0.0)}
        ],
        "detector_id": f"id-of-{detector}",
        "detector": detector,
        "run_id": "r",
        "scanned_at": datetime(2026, 1, 1, tzinfo=UTC),
        "attempt": 1,
    }
    row["faces"][0]["box"] |= {"x1": 50.0, "y1": 80.0}
    return row | more


def write_reports(out, rows):
    folder = Path(out) / "reports" / "scan_date=2026-01-01"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=REPORT), folder / "r-0.parquet")
    return Path(out)


def write_pool(directory, split):
    """Write a pool of faces; fakes have a bar over the eyes; one video of 20 frames."""
    side, rng = 96, np.random.default_rng(0)
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([48 + 24 * np.cos(turn), 50 + 30 * np.sin(turn)], 1).astype(np.float32)
    face = cv2.resize(skimage.data.astronaut()[0:220, 110:330], (side, side))
    faces = []

    def add(label, file, group, frame=0):
        patch = np.clip(face * rng.uniform(0.8, 1.1, 3), 0, 255).astype(np.uint8)
        patch[30:40, 20:-20] = 255 if label else patch[30:40, 20:-20]
        told = {"file": file, "label": label, "group": group, "frame": frame, "split": split}
        faces.append(Face(patch, points, side * 0.8, **told))

    for i in range(12):
        add(0, f"g{i}", f"p{i}")
        add(1, f"f{i}", f"p{i}")
    for frame in range(28):
        add(0, "video", "v", frame)
    pools.write(directory, faces)
    return directory


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    """A pool of held-out faces."""
    return write_pool(tmp_path_factory.mktemp("work") / "pools" / "toys", "test")
