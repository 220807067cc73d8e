"""The evaluation protocol: which figures are made of a detector's verdicts, parts and baselines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dfd_batch.evaluation import attacks as attacking
from dfd_batch.evaluation import metrics, operations, robustness, segments
from dfd_batch.evaluation.bootstrap import Estimate, auc_difference, measure, tally_of
from dfd_batch.evaluation.crops import CropJudge, labelled_faces
from dfd_batch.evaluation.metrics import Floats
from dfd_batch.evaluation.results import Account, Evaluation, Plots, part_of, unlike
from dfd_batch.evaluation.slices import Mask, slices
from dfd_batch.evaluation.verdicts import Verdicts
from dfd_batch.settings import Settings
from dfd_batch.training import pools
from dfd_batch.training.selection import measured_rows

MEAN_OF_FRAMES = "mean of frames"
NO_LSTM = "mean of frames, no LSTM"
CONSTANT = "constant 0.5"
N_BARS = 20
ROC_POINTS = 400
CLASSES = {"genuine": 0, "manipulated": 1}


def assess(
    found: Evaluation, detector: str, verdicts: Verdicts, test: str, bare: Verdicts | None
) -> None:
    """Add all figures of one detector on one test set.

    Args:
        found: Takes the figures.
        detector: Name.
        verdicts: Of the detector.
        test: Name of the test set.
        bare: Verdicts on the same videos by the same detector without its temporal head.
    """
    found.accounts.append(_account(detector, test, verdicts))
    draws = found.n_draws
    for part in slices(verdicts):
        labels, groups = verdicts.labels[part.rows], _at(verdicts.groups, part.rows)
        about = part_of(detector, test, "object", labels, groups, part.by, part.name)
        scores = verdicts.scores[part.rows]
        found.add(about, measure(labels, scores, groups, verdicts.threshold, draws))
    _frames(found, detector, verdicts, test)
    _baselines(found, detector, verdicts, test, bare)
    videos = verdicts.videos()
    if videos:
        labels = np.array([len(v.truth) > 0 for v in videos])
        groups = [v.group for v in videos]
        about = part_of(detector, test, "segment", labels, groups)
        found.add(about, segments.measure(videos, draws))
    if verdicts.labels.any() and not verdicts.labels.all():
        found.plots.append(_plots(detector, verdicts, test))


def _account(detector: str, test: str, verdicts: Verdicts) -> Account:
    names = tuple(CLASSES)
    outcomes: dict[str, dict[str, int]] = {}
    for (outcome, label), n in sorted(verdicts.outcomes.items()):
        outcomes.setdefault(outcome, dict.fromkeys(names, 0))[names[label]] = n
    scored_first = dict(sorted(outcomes.items(), key=lambda item: item[0] != "scored"))
    return Account(detector, test, sum(verdicts.outcomes.values()), scored_first)


def _frames(found: Evaluation, detector: str, verdicts: Verdicts, test: str) -> None:
    frames = verdicts.frames()
    groups = [verdicts.groups[i] for i in frames.of]
    about = part_of(detector, test, "frame", frames.labels, groups)
    estimates = measure(frames.labels, frames.scores, groups, verdicts.threshold, found.n_draws)
    found.add(about, estimates)


def _baselines(
    found: Evaluation, detector: str, verdicts: Verdicts, test: str, bare: Verdicts | None
) -> None:
    """Add what simpler ways to a score reach on the same objects, and by how much ours is better.

    Every row stands beside the detector's own on exactly these objects: those that have a score
    without the LSTM are the videos.
    """
    everything = np.ones(len(verdicts), bool)
    rivals: list[tuple[str, Mask, Floats]] = [
        (CONSTANT, everything, np.full(len(verdicts), 0.5)),
        (MEAN_OF_FRAMES, everything, verdicts.mean_of_frames()),
    ]
    if bare is not None:
        mean = dict(zip([s.uri for s in bare.samples], bare.mean_of_frames(), strict=True))
        theirs = np.array([mean.get(s.uri, np.nan) for s in verdicts.samples])
        rivals.append((NO_LSTM, np.isfinite(theirs), theirs))
    for name, rows, scores in rivals:
        if not rows.any():
            continue
        labels, groups = verdicts.labels[rows], _at(verdicts.groups, rows)
        about = part_of(detector, test, "object", labels, groups, "baseline", name)
        estimates = measure(labels, scores[rows], groups, None, found.n_draws)
        better = auc_difference(labels, verdicts.scores[rows], scores[rows], groups, found.n_draws)
        found.add(about, estimates | {"AUC of ours minus this": better})


def _plots(detector: str, verdicts: Verdicts, test: str) -> Plots:
    tally = tally_of(verdicts.labels, verdicts.scores)
    fpr, tpr = (rates[0] for rates in tally.rates)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(ROC_POINTS, len(fpr))).astype(int))
    mass, fakes, told = (part[0] for part in metrics.calibration_bins(tally))
    some = mass > 0
    bars = [
        np.histogram(verdicts.scores[verdicts.labels == label], N_BARS, (0, 1))[0].tolist()
        for label in (False, True)
    ]
    return Plots(
        detector,
        test,
        (fpr[kept].tolist(), tpr[kept].tolist()),
        (
            (told[some] / mass[some]).tolist(),
            (fakes[some] / mass[some]).tolist(),
            mass[some].astype(int).tolist(),
        ),
        *bars,
    )


def on_faces(
    found: Evaluation,
    directory: Path,
    detectors: Sequence[tuple[str, Settings]],
    most: int,
    tell: Callable[[str], None],
    attacks: bool = False,
) -> None:
    """Add robustness curves and figures by forging operation on the faces of a prepared pool.

    Args:
        found: Takes the figures, and a note where there can be no curves. They bear the folder's
            name, numbered where another pool has it.
        directory: Of the pool.
        detectors: Names, and settings that name the checkpoints.
        most: Faces of each class, and pairs of each operation.
        tell: Told what was finished.
        attacks: Whether the frame encoder is attacked as well.

    Raises:
        UsageError: The directory holds no pool.
    """
    pool, directory = pools.read(directory), directory.absolute()  # "." has no name
    folder = directory.name  # what training knows the pool by
    test = unlike(folder, {p["name"] for p in found.pools})
    found.pools.append({"name": test, "source": str(directory)})
    if test != folder:
        told = f"{test} are the faces of {directory}: another pool is called {folder}, too."
        found.notes.append(told)
        tell(told)
    first: dict[str, Floats] = {}
    lacking = [of for of, label in CLASSES.items() if not len(measured_rows(folder, pool, label))]
    if lacking:
        note = f"No curves on {test}: training leaves out none of its {' or '.join(lacking)} faces."
        found.notes.append(note)
        tell(note)
    for name, settings in detectors:
        judge = CropJudge(settings)
        if not lacking:
            faces = labelled_faces(folder, pool, judge.crop_size, most)
            scores = judge([crop[None] for crop in faces.crops])
            about = part_of(name, test, "face", faces.labels, faces.groups)
            found.add(about, measure(faces.labels, scores, faces.groups, n_draws=found.n_draws))
            made_curves: Iterable[robustness.Curve] = robustness.curves(
                judge, faces, name, n_draws=found.n_draws
            )
            if attacks:
                attacked, carlini_wagner = attacking.curves(
                    settings.checkpoint, faces, name, found.n_draws
                )
                made_curves = itertools.chain(made_curves, attacked)
                for attack, auc in carlini_wagner.items():
                    found.add(replace(about, by="attack", slice=attack), {"AUC": auc})
            for curve in made_curves:
                found.curves.append(replace(curve, test=test))
                for point in curve.points:
                    at = replace(about, by=curve.name, slice=f"{curve.x_name} {point.x:g}".strip())
                    found.add(at, {"AUC": point.auc})
                tell(f"{name}, {test}: {curve.name}")
        for made in operations.pairs(directory, pool, judge.crop_size, most):
            scores = judge(made.objects, made.media)
            level = "clip" if made.media == "video" else "face"
            where = (level, made.labels, made.groups, "operation", made.operation)
            estimates = {
                "AUC": measure(made.labels, scores, made.groups, n_draws=found.n_draws)["AUC"]
            }
            rival = first.setdefault(made.operation, scores)
            if rival is not scores:
                estimates["AUC minus the first's"] = _difference(found, made, scores, rival)
            found.add(part_of(name, test, *where), estimates)
            tell(f"{name}, {test}: {made.operation}")


def _difference(
    found: Evaluation, made: operations.Pairs, ours: Floats, theirs: Floats
) -> Estimate:
    return auc_difference(made.labels, ours, theirs, made.groups, found.n_draws)


def _at(values: Sequence[str], rows: Mask) -> list[str]:
    return [values[i] for i in np.flatnonzero(rows).tolist()]
