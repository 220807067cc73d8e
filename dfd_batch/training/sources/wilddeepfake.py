"""WildDeepfake (Zi et al., ACM MM 2020): sequences of face crops in tar archives.

The archives are plain tars although their names end in `.tar.gz`. A sequence of frames is the
unit; its URI is the archive's with `#folder`.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd_batch.outcomes import MediaFault, Outcome, UsageError
from dfd_batch.storage import is_s3, local_path
from dfd_batch.training.sources.sample import Contents, Found, Sample, examples
from dfd_batch.training.sources.tree import Tree

ARCHIVE = r"(real|fake)_(train|test)/([^/]+)\.tar(?:\.gz)?"
MEMBER = re.compile(r"(?:\./)?(.*?(real|fake)/[^/]+)/(\d+)\.png")
_PARTS = ("real_train", "fake_train", "real_test", "fake_test")


def read(tree: Tree) -> Contents:
    """Return the sequences of all archives; those of one video share the archive's number."""
    samples: list[Sample] = []
    unreadable = []
    counts = dict.fromkeys(_PARTS, 0)
    for match, name, uri in tree.find(ARCHIVE):
        kind, split, number = match[1], match[2], match[3]
        if is_s3(uri):
            raise UsageError(f"{uri} is an archive on S3; copy the data set to a local folder.")
        try:
            sequences = _sequences(uri)
        except (tarfile.TarError, OSError, EOFError):
            unreadable.append(name)
            continue
        group, label = f"{kind} {number}", int(kind == "fake")
        counts[f"{kind}_{split}"] += len(sequences)
        samples += [
            Sample(f"{uri}#{folder}", label, group, "wild" * label, split, cropped=True)
            for folder in sequences
        ]
    lines = [Found(f"sequences of {name}", None, n) for name, n in counts.items()]
    total = Found("sequences", 7314, len(samples), len(unreadable), examples(unreadable))
    both = {s.group for s in samples if s.split == "train"} & {
        s.group for s in samples if s.split == "test"
    }
    shared = Found("numbers in both parts", 0, len(both), notes=examples(sorted(both)))
    return Contents(tuple(samples), (*lines, total, shared))


def _sequences(uri: str) -> list[str]:
    with tarfile.open(local_path(uri)) as archive:
        found = (MEMBER.fullmatch(member.name) for member in archive)
        return list(dict.fromkeys(match[1] for match in found if match))


def frames(uri: str, most: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the numbers and pictures (H, W, 3) RGB of the first frames of a sequence.

    Raises:
        MediaFault: The archive or a picture of it cannot be read.
    """
    path, _, folder = uri.rpartition("#")
    try:
        with tarfile.open(local_path(path)) as archive:
            members = {}
            for member in archive:
                match = MEMBER.fullmatch(member.name)
                if match and match[1] == folder:
                    members[int(match[3])] = member
            for number in sorted(members)[:most]:
                file = archive.extractfile(members[number])
                blob = np.frombuffer(file.read() if file else b"", np.uint8)
                picture = cv2.imdecode(blob, cv2.IMREAD_COLOR_RGB) if len(blob) else None
                if picture is None:
                    raise MediaFault(
                        Outcome.UNREADABLE, "picture", f"{uri}: frame {number} is no picture."
                    )
                yield number, np.asarray(picture, np.uint8)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise MediaFault(Outcome.UNREADABLE, "archive", f"{uri}: {error}.") from None
