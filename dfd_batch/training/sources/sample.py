"""What an adapter says of a data set: its samples, and what of it was expected and found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LabelledBox:
    """One face of a picture whose faces are labelled one by one."""

    box: tuple[float, float, float, float]  # x0 y0 x1 y1, pixels of the displayed picture
    label: int


@dataclass(frozen=True)
class Sample:
    """One labelled medium."""

    uri: str
    label: int
    """1 = manipulated."""
    group: str
    """What never crosses splits: the source video or identity."""
    method: str = ""
    split: str = ""
    """`train`, `val` or `test` of the data set itself; empty where it has none."""
    segments: tuple[tuple[float, float], ...] = ()
    """Manipulated (start, end) in seconds; empty: all of it is as the label says."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    links: tuple[str, ...] = ()
    """Further groups that a fake shows, e.g. the identity whose face was put in."""
    pair: str = ""
    """URI of the genuine medium that a fake was made from, or what else names it where it is not
    there."""
    swapped: bool = False
    """A fake that was made from a genuine face, whether or not that is there too."""
    faces: tuple[LabelledBox, ...] = ()
    """Labels face by face, where the data set has them."""
    cropped: bool = False
    """The frames are face crops already, to be taken whole."""

    def label_at(self, time_s: float) -> int:
        """Return the label at a time."""
        if not self.label or not self.segments:
            return self.label
        return int(any(start <= time_s < end for start, end in self.segments))


@dataclass(frozen=True)
class Found:
    """One line of what a data set should hold and what is there."""

    what: str
    expected: int | None
    """By the data set's own lists, else by its publication; None where nobody says."""
    found: int
    missing: int = 0
    """Files that a list names and that are not there."""
    notes: str = ""


@dataclass(frozen=True)
class Contents:
    """The samples of a data set and the account of its files."""

    samples: tuple[Sample, ...]
    found: tuple[Found, ...]
    notes: tuple[tuple[str, str], ...] = ()
    """What had to be guessed or is not there: a word and a sentence each."""


def examples(names: Iterable[str], n: int = 3) -> str:
    """Return the first few of some names, for a note."""
    names = list(names)
    return ", ".join(names[:n]) + (f" … ({len(names):,})" if len(names) > n else "")
