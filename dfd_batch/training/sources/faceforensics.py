"""FaceForensics++ (Rössler et al., ICCV 2019) and DeepFakeDetection (Google/Jigsaw, 2019).

Both share one tree: `{original,manipulated}_sequences/<set>/<compression>/videos/*.mp4`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dfd_batch.training.sources.sample import Contents, Found, Sample, examples
from dfd_batch.training.sources.tree import Tree

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
GENUINE = r"original_sequences/youtube/(raw|c0|c23|c40)/videos/(\d{3})\.mp4"
FAKES = (
    rf"manipulated_sequences/({'|'.join(METHODS)})/(raw|c0|c23|c40)/videos/(\d{{3}})_(\d{{3}})\.mp4"
)
ACTORS = r"original_sequences/actors/(raw|c0|c23|c40)/videos/(\d\d)__(.+)\.mp4"
SWAPS = (
    r"manipulated_sequences/DeepFakeDetection/(raw|c0|c23|c40)/videos/"
    r"(\d\d)_(\d\d)__(.+)__(\w{8})\.mp4"
)


def read_faceforensics(tree: Tree) -> Contents:
    """Return FaceForensics++: a fake `TTT_SSS` shows the video TTT with the face of SSS."""
    splits, notes = _splits(tree)
    samples: list[Sample] = []
    genuine: dict[tuple[str, str], str] = {}
    for match, _, uri in tree.find(GENUINE):
        compression, video = _same(match[1]), match[2]
        genuine[compression, video] = uri
        attributes = {"compression": compression}
        samples.append(Sample(uri, 0, video, split=splits.get((video,), ""), attributes=attributes))
    for match, _, uri in tree.find(FAKES):
        method, compression, target, source = match[1], _same(match[2]), match[3], match[4]
        fake = Sample(
            uri,
            1,
            target,
            method,
            splits.get((min(target, source), max(target, source)), ""),
            attributes={"compression": compression},
            links=(source,),
            pair=genuine.get((compression, target), ""),
        )
        samples.append(fake)
    originals = frozenset(f"{videos[0]}.mp4" for videos in splits if len(videos) == 1)
    fakes = frozenset(
        f"{'_'.join(order)}.mp4"
        for videos in splits
        if len(videos) == 2
        for order in (videos, videos[::-1])
    )
    return Contents(tuple(samples), (*_counts(samples, METHODS, originals, fakes), *notes))


def read_deepfakedetection(tree: Tree) -> Contents:
    """Return DeepFakeDetection: a fake `TT_SS__scene__CODE` shows actor TT with the face of SS."""
    samples: list[Sample] = []
    genuine: dict[tuple[str, str, str], str] = {}
    for match, _, uri in tree.find(ACTORS):
        compression, actor, scene = _same(match[1]), match[2], match[3]
        genuine[compression, actor, scene] = uri
        samples.append(Sample(uri, 0, f"actor {actor}", attributes={"compression": compression}))
    for match, _, uri in tree.find(SWAPS):
        compression, target, source, scene = _same(match[1]), match[2], match[3], match[4]
        fake = Sample(
            uri,
            1,
            f"actor {target}",
            "DeepFakeDetection",
            attributes={"compression": compression},
            links=(f"actor {source}",),
            pair=genuine.get((compression, target, scene), ""),
        )
        samples.append(fake)
    return Contents(
        tuple(samples),
        tuple(
            replace(line, expected=363 if line.what.startswith("genuine") else 3068)
            for line in _counts(samples, ("DeepFakeDetection",))
        ),
    )


def _same(compression: str) -> str:
    """Return one word for both names of the uncompressed videos."""
    return "raw" if compression == "c0" else compression


def _splits(tree: Tree) -> tuple[Mapping[tuple[str, ...], str], list[Found]]:
    """Return the split of (video,) and of each sorted pair of videos, and what was found."""
    splits: dict[tuple[str, ...], str] = {}
    notes = []
    for split, expected in (("train", 360), ("val", 70), ("test", 70)):
        name = next((name for _, name, _ in tree.find(rf"{split}\.json")), None)
        if name is None:
            note = f"no {split}.json: split by groups of videos"
            notes.append(Found(f"pairs of {split}.json", expected, 0, notes=note))
            continue
        pairs = tree.json(name)
        try:
            for one, other in pairs:
                a, b = sorted((f"{int(one):03d}", f"{int(other):03d}"))
                splits[a,] = splits[b,] = splits[a, b] = split
        except (TypeError, ValueError):
            raise tree.malformed(name, "it is not a list of pairs of video numbers") from None
        notes.append(Found(f"pairs of {split}.json", expected, len(pairs)))
    return splits, notes


def _counts(
    samples: list[Sample],
    methods: tuple[str, ...],
    originals: frozenset[str] = frozenset(),
    fakes: frozenset[str] = frozenset(),
) -> list[Found]:
    """Return a line per method and compression, also of what is not there at all.

    Args:
        samples: Of all methods.
        methods: Those that the data set should hold beside originals.
        originals: Names of the genuine files that a list demands.
        fakes: Names of the files that a list demands of each method.
    """
    compressions = dict.fromkeys(sample.attributes["compression"] for sample in samples)
    lines = []
    for compression in compressions:
        there = [s for s in samples if s.attributes["compression"] == compression]
        for method in ("", *methods):
            of_kind = [s for s in there if s.method == method]
            lost = [_file(s) for s in of_kind if s.label and not s.pair]
            note = f"genuine video missing of {examples(lost)}" if lost else ""
            gone = (fakes if method else originals) - {_file(s) for s in of_kind}
            what = f"{method or 'genuine'} {compression}"
            lines.append(Found(what, 1000, len(of_kind), len(gone), note))
    return lines


def _file(sample: Sample) -> str:
    return sample.uri.rpartition("/")[2]
