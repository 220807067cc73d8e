"""Whether looking at less costs accuracy: labelled videos, our clips against 32 uniform frames."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.catalog.objects import media_hint
from dfd_batch.outcomes import UsageError

KEY = "auc_minus_plain_auc"


def measure(bench: Bench) -> list[Line]:
    """Return how well both ways order labelled videos."""
    what = "video AUC less the plain way's, labelled videos"
    if bench.labelled is None:
        return [Line(KEY, what, "", [], Goal("≥", 0), "not measured: no --labelled list")]
    labels = read_labels(bench.labelled)
    paths = [path for path, _ in labels]
    plain = cpu.apart(_plain_logits, paths, bench.detector)
    ours = cpu.apart(_our_logits, paths, bench.detector)
    both = [
        (a, b, label)
        for a, b, (_, label) in zip(plain, ours, labels, strict=True)
        if a is not None and b is not None
    ]
    if {label for *_, label in both} != {0, 1}:
        raise UsageError(f"--labelled {bench.labelled}: both labels, 0 and 1, are needed.")
    auc_plain = auc([(a, label) for a, _, label in both])
    auc_ours = auc([(b, label) for _, b, label in both])
    told = f"ours {auc_ours:.3f}, plain {auc_plain:.3f}; {len(both)} of {len(labels)} videos"
    return [Line(KEY, what, "", [auc_ours - auc_plain], Goal("≥", 0), told)]


def auc(scored: Sequence[tuple[float, int]]) -> float:
    """Return the chance that a manipulated video scores above a genuine one; ties count half."""
    from scipy.stats import mannwhitneyu

    fake = [score for score, label in scored if label == 1]
    genuine = [score for score, label in scored if label == 0]
    return float(mannwhitneyu(fake, genuine).statistic) / (len(fake) * len(genuine))


def read_labels(table: Path) -> list[tuple[Path, int]]:
    """Return the videos of a CSV of `file` (or `uri`, `path`) and `label`, with their labels.

    Raises:
        UsageError: It is not such a table.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        name = next(n for n in ("file", "uri", "path") if rows and n in rows[0])
        found = [(table.parent / row[name], int(row["label"])) for row in rows]
    except (OSError, StopIteration, KeyError, ValueError, TypeError) as error:
        raise UsageError(
            f"--labelled {table}: a CSV with the columns file and label (0 or 1) is needed "
            f"({type(error).__name__}: {error})."
        ) from None
    videos = [(path, label) for path, label in found if media_hint(path.name) == "video"]
    missing = [str(path) for path, _ in videos if not path.is_file()]
    if missing:
        raise UsageError(f"--labelled {table}: {missing[0]} is not there.")
    return videos


def _plain_logits(paths: Sequence[Path], detector: str) -> list[float | None]:
    from dfd_batch.benchmark import plain

    return [one.logit for one in plain.judge_all(paths, detector)]


def _our_logits(paths: Sequence[Path], detector: str) -> list[float | None]:
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.settings import Settings

    stages = Stages(Settings(checkpoint=detector))
    return [stages(of_file(path)).row["probability"] for path in paths]
