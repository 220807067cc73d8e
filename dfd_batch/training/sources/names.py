"""What names say where no list does: which files show one video or person, and whose a fake is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from dfd_batch.catalog.objects import media_hint

_NUMBERED = re.compile(
    r"(?P<folder>(?:.*/)?)(?P<name>[^/]*?)(?P<said>[_-]?frame)?[\s._-]*\(?\d+\)?", re.IGNORECASE
)
_DATE = re.compile(r"(?:19|20)\d\d[._-]?[01]\d[._-]?[0-3]\d")
_LETTERS = re.compile(r"[^\W\d_]+")
_BETWEEN = re.compile(r"([_-])")
_OF_PERSON = re.compile(r"(.+)[_-]\d+")
_OF_TWO = re.compile(r"([^_-]+)[_-]([^_-]+)([_-]\d+)")
_KINDS = (
    # cameras, telephones
    "img image images imgp imag dsc dscn dscf dscp dji pxl p mvi vid cimg sam pict hpim sdc gopr "
    "gp gx burst cover raw hdr portrait night edited scan "
    # messengers, downloads, editors
    "whatsapp wa at fb received signal telegram snapchat screenshot screen shot capture download "
    "downloaded unnamed untitled file copy export output result pexels unsplash pixabay "
    # what a picture or a person is
    "pic picture photo foto face faces head headshot selfie avatar person people subject human man "
    "woman male female user id sample seed gan ai gen "
    # the label itself
    "real genuine original authentic pristine fake manipulated deepfake synthetic generated"
)
SILENT = frozenset(_KINDS.split())
"""Words that cameras and collections put before every running number: they tell nobody apart."""


def folder_of_picture(name: str) -> str:
    """Return the folder below the label that holds a picture; empty for a video or without one."""
    return name.rpartition("/")[0] if media_hint(name) == "image" else ""


def stem_of(name: str) -> str:
    """Return a file's path without its ending."""
    return name.rpartition(".")[0]


def numbered(name: str) -> str:
    """Return a file's path without the number that counts frames or pictures of one.

    Such numbers follow a name (`a_0012`), unless it is of a kind that cameras give (`SILENT`), or
    the word `frame`. Other files keep their whole stem.
    """
    match = _NUMBERED.fullmatch(stem_of(name))
    if match is None or media_hint(name) != "image":
        return stem_of(name)
    if match["said"]:
        return match["folder"] + (match["name"] or match["said"])
    return match["folder"] + match["name"] if _speaks(match["name"]) else stem_of(name)


def is_bare(name: str) -> bool:
    """Return whether a file's own name is but a number."""
    match = _NUMBERED.fullmatch(stem_of(name))
    return match is not None and not match["name"]


def _speaks(name: str) -> bool:
    """Return whether the name before a running number tells one video or person from another.

    A number in it does (`000_0012`, `face3_01`, `IMG_0001 (2)`), a date does not.
    """
    undated = _DATE.sub("", name)
    words = _LETTERS.findall(undated.lower())
    if any(word not in SILENT for word in words):
        return True
    return undated == name and len(words) < 2 and any(c.isdigit() for c in name)


@dataclass(frozen=True)
class Origin:
    """What the name of a fake says that it was made from."""

    target: str = ""
    """The genuine medium that it shows; empty where it names none."""
    sources: tuple[str, ...] = ()
    """Further genuine media that it names."""
    people: tuple[str, ...] = ()
    """Where it names persons: that of the target and that of the source."""
    rest: str = ""
    """Of the fake's own path, what follows the medium's name."""


class Genuine:
    """The genuine media of a tree, to be found in names of fakes.

    Args:
        media: By their names below the label, with the folders above it.
        whole: Those that are one file of that name.
    """

    def __init__(self, media: Iterable[str], whole: Iterable[str]) -> None:
        self._media, self._whole = frozenset(media), frozenset(whole)
        self._people = {match[1] for match in map(_OF_PERSON.fullmatch, self._media) if match}

    def origin(self, above: str, name: str) -> Origin:
        """Return what a fake was made from.

        By its own name, `TARGET_SOURCE` (FaceForensics++, or `alice-bob`), or `idI_idJ_NNNN` for
        the medium `idI_NNNN` with the face of J (Celeb-DF); in folders of methods, too.

        Args:
            above: The folders above the label, with a final slash; or empty.
            name: Of the fake's file below the label.
        """
        stem, folder = stem_of(name), folder_of_picture(name)
        looked = [(folder, self._media)] if folder else []
        looked += [(stem, self._whole), (numbered(name), self._media)]
        sources: list[str] = []
        for medium, known in looked:
            found = self._origin(above, medium, known)
            if found.target:
                return replace(found, rest=stem[len(medium) :])
            if medium != folder:  # that of a method, whose words are no names
                sources += found.sources
        return Origin(sources=tuple(dict.fromkeys(sources)))

    def _origin(self, above: str, medium: str, known: Set[str]) -> Origin:
        parts = medium.split("/")
        before = [above + "".join(f"{part}/" for part in parts[k:-1]) for k in range(len(parts))]
        exact = next((folder + parts[-1] for folder in before if folder + parts[-1] in known), "")
        if exact:
            return Origin(exact)
        sources: tuple[str, ...] = ()
        for folder in before:
            found = _named(folder, parts[-1], known)
            if not found.target:
                found = replace(self._of_two(folder, parts[-1], known), sources=found.sources)
            if found.target:
                return found
            sources += found.sources
        return Origin(sources=sources)

    def _of_two(self, folder: str, stem: str, known: Set[str]) -> Origin:
        match = _OF_TWO.fullmatch(stem)
        if match is None or folder + match[1] + match[3] not in known:
            return Origin()
        people = (folder + match[1], folder + match[2])
        return Origin(
            folder + match[1] + match[3], people=people if people[1] in self._people else ()
        )


def person_of(medium: str, people: Set[str]) -> str:
    """Return the person among these whose medium it is by name, else the medium itself."""
    match = _OF_PERSON.fullmatch(medium)
    return match[1] if match and match[1] in people else medium


def _named(folder: str, stem: str, known: Set[str]) -> Origin:
    """Return the known media that a stem names from left to right, the longest names first."""
    pieces = _BETWEEN.split(stem)  # words, and what is between them
    n = (len(pieces) + 1) // 2
    target, found, i = "", [], 0
    while i < n:
        ends = (j for j in range(n, i, -1) if folder + "".join(pieces[2 * i : 2 * j - 1]) in known)
        j = next(ends, 0)
        if j:
            run = "".join(pieces[2 * i : 2 * j - 1])
            if i:
                found.append(run)
            else:
                target = folder + run
        i = j or i + 1
    # A number among words counts something; it names a medium where all of it are numbers.
    all_numbers = all(word.isdigit() for word in pieces[::2])
    sources = tuple(folder + run for run in found if all_numbers or not run.isdigit())
    return Origin(target, sources)
