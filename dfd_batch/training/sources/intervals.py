"""Data sets whose videos are manipulated in parts: LAV-DF (Cai et al., 2022), ForgeryNet (2021)."""

from __future__ import annotations

import av

from dfd_batch.outcomes import UsageError
from dfd_batch.storage import is_s3, local_path
from dfd_batch.training.sources.sample import Contents, Found, Sample, examples
from dfd_batch.training.sources.tree import Tree, folder_of

METADATA = r"metadata(?:\.min)?\.json"
LIST = r"[^/]*list[^/]*\.txt"
_SPLITS = {"train": "train", "dev": "val", "test": "test"}


def read_lavdf(tree: Tree) -> Contents:
    """Return LAV-DF; videos with changed sound alone are left out, for only pictures are judged."""
    name = min((name for _, name, _ in tree.find(METADATA)), key=len)
    folder, told = folder_of(name), tree.json(name)
    samples, missing, n_sound = [], [], 0
    try:
        for entry in told:
            file, source = entry["file"], entry.get("original") or entry["file"]
            if entry["modify_audio"] and not entry["modify_video"]:
                n_sound += 1
                continue
            uri = tree.uris.get(folder + file)
            if uri is None:
                missing.append(file)
                continue
            label = int(entry["modify_video"])
            periods = tuple((float(start), float(end)) for start, end in entry["fake_periods"])
            samples.append(
                Sample(
                    uri,
                    label,
                    source,
                    "LAV-DF" if label else "",
                    _SPLITS[entry["split"]],
                    segments=periods if label else (),
                    pair=tree.uris.get(folder + source, "") if label else "",
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise tree.malformed(name, f"an entry is not as LAV-DF's are ({error!r})") from None
    n = len(told) - n_sound
    line = Found("videos", n, n - len(missing), len(missing), examples(missing))
    sound = Found("changed in sound alone", None, n_sound, notes="left out")
    return Contents(tuple(samples), (line, sound))


def read_forgerynet(tree: Tree) -> Contents:
    """Return ForgeryNet's videos from their lists.

    A line is `<n> <video> [<first frame> <frames> <fake|real>] × n <binary> <3 classes> <16
    classes>`. Frames become seconds by the frame rate that a local video's header tells.
    """
    samples: list[Sample] = []
    lines = []
    by_end = {"/".join(name.split("/")[-2:]): name for name in tree.uris}
    for _, name, _ in tree.find(LIST):
        missing, n = [], 0
        for number, line in enumerate(tree.text(name).splitlines(), start=1):
            if not line.strip():
                continue
            n += 1
            video, label, method, spans = _parse(tree, name, number, line.split())
            near = folder_of(name) + video
            found = near if near in tree.uris else by_end.get("/".join(video.split("/")[-2:]))
            if found is None:
                missing.append(video)
                continue
            uri = tree.uris[found]
            segments = _seconds(uri, spans) if label else ()
            split = _split_of(f"{name} {found}")
            method = f"ForgeryNet {method}" if label else ""
            samples.append(Sample(uri, label, video, method, split, segments))
        lines.append(Found(name, n, n - len(missing), len(missing), examples(missing)))
    return Contents(tuple(samples), tuple(lines))


Spans = list[tuple[int, int]]


def _parse(tree: Tree, name: str, number: int, words: list[str]) -> tuple[str, int, str, Spans]:
    """Return video, label, class and the (first frame, frames) of the fake parts of a line."""
    wrong = tree.malformed(name, f"line {number} is not as ForgeryNet's video lists are")
    try:
        n = int(words[0])
        spans = [
            (int(words[at]), int(words[at + 1]), words[at + 2].lower())
            for at in range(2, 2 + 3 * n, 3)
        ]
        binary, _, method = words[2 + 3 * n :]
    except (ValueError, IndexError):
        raise wrong from None
    fake = [(first, length) for first, length, kind in spans if kind in ("fake", "1")]
    if binary not in ("0", "1") or (fake and binary == "0"):
        raise wrong
    return words[1], int(binary), method, fake


def _seconds(uri: str, spans: Spans) -> tuple[tuple[float, float], ...]:
    """Return frames as seconds; a video that cannot be opened here will be an outcome later."""
    if not spans:
        return ()
    if is_s3(uri):
        raise UsageError(f"{uri}: ForgeryNet's intervals need local videos; copy them first.")
    try:
        with av.open(str(local_path(uri))) as container:
            rate = container.streams.video[0].average_rate
    except (av.error.FFmpegError, OSError, IndexError):
        rate = None
    fps = float(rate or 25)
    return tuple((first / fps, (first + length) / fps) for first, length in spans)


def _split_of(name: str) -> str:
    lower = name.lower()
    return next((s for s in ("train", "val", "test") if s in lower), "")
