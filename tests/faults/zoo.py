"""Bad and odd media, each with the outcomes that are right; made on the spot, none committed.

A `Kind` writes one file below a folder. `scored` stands for a row with crops: what the networks
make of them is not the decoder's business.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dfd_batch.outcomes import Outcome

SCORED, NO_FACE, EMPTY = Outcome.SCORED, Outcome.NO_FACE, Outcome.EMPTY
UNREADABLE, UNSUPPORTED = Outcome.UNREADABLE, Outcome.UNSUPPORTED
TOO_LARGE, TIMEOUT, TOO_SMALL = Outcome.TOO_LARGE, Outcome.TIMEOUT, Outcome.FACE_TOO_SMALL


@dataclass(frozen=True)
class Kind:
    """One animal of the zoo."""

    name: str | bytes
    """Of its file; bytes where it is not UTF-8."""
    right: frozenset[Outcome]
    write: Callable[[Path], object]
    slow: bool = False

    def make(self, folder: Path) -> Path:
        """Write the file and return its path."""
        path = folder / os.fsdecode(self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(path)
        return path


def kind(
    name: str | bytes, write: Callable[[Path], object], *right: Outcome, slow: bool = False
) -> Kind:
    """Return a kind; what `write` gives back as bytes becomes the file."""

    def made(path: Path) -> None:
        content = write(path)
        if isinstance(content, bytes):
            path.write_bytes(content)

    return Kind(name, frozenset(right), made, slow)


def kinds() -> Iterator[Kind]:
    """Yield every kind."""
    from tests.faults import zoo_broken, zoo_hostile, zoo_images, zoo_videos

    for module in (zoo_broken, zoo_hostile, zoo_images, zoo_videos):
        yield from module.KINDS
