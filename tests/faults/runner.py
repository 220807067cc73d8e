"""The real Crop stage in this process, one for all objects, without Ray."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd_batch import checkpoint
from dfd_batch.catalog.objects import MediaObject, of_file
from dfd_batch.schema import CROPPED, MANIFEST
from dfd_batch.settings import Limits, Settings
from dfd_batch.stages import Crop, RunContext
from tests.e2e.detector import write_detector

LIMITS = Limits(timeout_s=20, timeout_per_clip_s=2, decoder_memory_mb=768)


class Scanner:
    """One Crop and what it needs; rows as dictionaries."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        with tempfile.TemporaryDirectory() as folder:
            detector = checkpoint.load(write_detector(Path(folder) / "detector"))
        settings = Settings(limits=limits)
        self.crop = Crop(RunContext(settings, "", "run", "detector", date(2026, 1, 1), detector))

    def scan(self, path: Path) -> dict[str, Any]:
        """Return the one row of a file."""
        return self.scan_object(of_file(path))

    def scan_object(self, found: MediaObject) -> dict[str, Any]:
        """Return the one row of an object."""
        fields = {name: getattr(found, name, None) for name in MANIFEST.names} | {"attempt": 1}
        table = self.crop(pa.Table.from_pylist([fields], schema=MANIFEST))
        assert table.schema == CROPPED
        (row,) = table.to_pylist()
        assert row["media_id"] == found.media_id
        return dict(row)

    def close(self) -> None:
        """End its processes."""
        self.crop._cell.close()
