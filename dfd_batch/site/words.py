"""What pages say in plain words of scores, detectors, runs and objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dfd_batch.console.text import duration, printable, size
from dfd_batch.outcomes import Outcome, Verdict
from dfd_batch.site.detectors import JudgedBy

RARE = 1 / 1000
"""The share of manipulated objects that the example of a rare archive presumes."""
Row = dict[str, Any]


def prior(score: float) -> dict[str, Any]:
    """Return what a score stands for where few objects are manipulated.

    Calibration weighs both classes alike, so a score's odds are those of an even archive; in
    another one they are multiplied by its own odds (Bayes).
    """
    held = min(score, 0.999)
    odds = held / (1 - held) * RARE / (1 - RARE)
    chance = odds / (1 + odds)
    told = f"about {100 * chance:.1f} %" if chance >= 0.0005 else "less than 0.1 %"
    return {"score": held, "chance": told}


def sentence(row: Row) -> str:
    """Return one object's verdict in a sentence."""
    n_faces, n_crops = len(row["faces"]), row["n_frames_scored"]
    looked = f"{n_crops:,} face crop{'s' if n_crops != 1 else ''}"
    looked += f" of {n_faces} {'person' if n_faces == 1 else 'people'}" if n_faces else ""
    told = {
        Verdict.MANIPULATED: "it finds much that speaks for manipulation",
        Verdict.SUSPICIOUS: "it finds enough that speaks for manipulation to ask for a look",
        Verdict.INCONCLUSIVE: "it finds too little to tell either way",
        Verdict.AUTHENTIC: "it finds nothing that speaks for manipulation",
    }[Verdict(row["verdict"])]
    where = ""
    if row["segments"]:
        n = len(row["segments"])
        stretches = "one stretch" if n == 1 else f"{n} stretches"
        where = f", most of all in {stretches} of the {duration(row['duration_s'] or 0.0)}"
    return f"The detector looked at {looked}; {told}{where}."


def calibration(judged: JudgedBy) -> str:
    """Return how a detector's scores were calibrated and its bands set."""
    card = judged.card
    if card is None:
        return f"{judged.title}: {judged.missing}"
    n_image, n_video = card.image_calibration.n_samples, card.video_calibration.n_samples
    if not n_image and not n_video:
        told = f"{judged.title} is not calibrated: its scores order objects, but are no chances."
    else:
        told = (
            f"{judged.title}: images calibrated on {n_image:,} samples, videos on {n_video:,}, "
            "genuine and manipulated counting alike, of the kind that its training held back. On "
            "other media the scores may be off."
        )
    point = card.operating_point
    if point is None:
        return f"{told} Its verdicts begin where its training set them, not on media like these."
    own = (
        f"{told} Its verdicts were set on {point.n_images:,} images and {point.n_videos:,} videos "
        f"of the user's own genuine media ({point.date})"
    )
    if not judged.calibrated:
        return (
            f"{own} under {point.coverage} coverage; these objects were looked at with other "
            "settings, so its rate of false alarms does not hold for them."
        )
    # cards of --best-effort once told what was asked for, where their sample held less
    rate = judged.false_alarm_rate
    held = max(point.target_fpr, rate.value if rate else 0.0)
    return f"{own}, for at most {100 * held:g} % of such suspicious or worse."


def false_alarms(judged: JudgedBy, n_scored: int, n_flagged: int) -> str | None:
    """Return how many false alarms an operating point leads to expect; None without one.

    Args:
        judged: A detector.
        n_scored: How many objects it scored.
        n_flagged: How many of them it flagged.
    """
    rate = judged.false_alarm_rate
    if rate is None or not n_scored:
        return None
    between = ""
    if rate.low is not None and rate.high is not None:
        between = f" ({rate.low * n_scored:,.0f} to {rate.high * n_scored:,.0f})"
    return (
        f"Were all {n_scored:,} objects that {judged.title} judged genuine, about "
        f"{rate.value * n_scored:,.0f} of them{between} would be flagged all the same; "
        f"{n_flagged:,} are."
    )


def detector(judged: JudgedBy) -> dict[str, Any]:
    """Return what the model card's part of a page tells."""
    return {
        "title": judged.title,
        "id": judged.detector_id,
        "card": judged.card,
        "missing": judged.missing,
        "calibration": calibration(judged),
        "settings": json.dumps(judged.verdict_settings, indent=1) if judged.settings else "",
    }


def facts(row: Row) -> list[tuple[str, str]]:
    """Return what the object is, how it was looked at, and what names its row."""
    parts = [printable(v) for v in (row["media"], row["container"], row["codec"]) if v]
    if row["width"] and row["height"]:
        parts.append(f"{row['width']} × {row['height']} px")
    if row["fps"]:
        parts.append(f"{row['fps']:.2f} frames/s")
    if row["duration_s"]:
        parts.append(duration(row["duration_s"]))
    if row["size_bytes"] is not None:
        parts.append(size(row["size_bytes"]))
    steps = ("fetch", "decode", "face", "embed", "judge")
    cost = [f"{s} {row[s + '_ms']:.0f} ms" for s in steps if row[s + "_ms"] is not None]
    looked = (
        f"{row['n_clips'] or 0} clips, {row['n_frames_used'] or 0} of "
        f"{row['n_frames_decoded'] or 0} decoded frames used, {row['n_frames_scored'] or 0} face "
        f"crops judged, {row['n_frames_repeated'] or 0} repeated frames left out"
    )
    told = [("medium", ", ".join(parts)), ("looked at", looked), ("cost", ", ".join(cost))]
    if row["truncated"]:
        told.append(("damage", "the file is truncated: judged by what could be read"))
    told += [
        ("judged", f"{row['scanned_at']:%Y-%m-%d %H:%M} UTC, attempt {row['attempt'] or 1}"),
        ("package", f"dfd-batch {row['package_version']}"),
        ("object id", row["media_id"]),
        ("run", row["run_id"]),
    ]
    return told


def run(run_id: str, account: Row) -> dict[str, Any]:
    """Return a line of the table of runs."""
    n, elapsed_s = account.get("n_reported"), account.get("elapsed_s")
    whole = "each object has its row" if account.get("reconciled") else "rows are missing"
    return {
        "id": run_id,
        "source": printable(str(account.get("source", "unknown"))),
        "started": str(account.get("started_at", ""))[:16].replace("T", " "),
        "n": "" if n is None else f"{n:,}",
        "time": "" if elapsed_s is None else duration(elapsed_s),
        "rate": f"{n / elapsed_s:.2f}" if n and elapsed_s else "",
        "account": whole if account.get("finished") else "cut short, or still running",
    }


def work(n: int, media_s: float, bytes_read: int, step_s: Sequence[tuple[str, float]]) -> Any:
    """Return what the rows cost, as names and values."""
    spent = sum(s for _, s in step_s)
    steps = ", ".join(f"{name} {duration(s)}" for name, s in step_s)
    told = [
        ("video", f"{duration(media_s)} in all"),
        ("read", size(bytes_read)),
        ("work", f"{duration(spent)} of the stages' own time: {steps}"),
    ]
    if n and spent:
        told.append(("per object", f"{duration(spent / n)}, {size(bytes_read / n)}"))
    return told


def why_not_shown(told: Row) -> str:
    """Return why an object that was fetched and cropped again cannot be shown.

    Args:
        told: Its row of `schema.CROPPED`, with an outcome.
    """
    if told["outcome"] == Outcome.CHANGED:
        return (
            "The object has changed since it was judged, so it is not shown: scan again to judge "
            "what lies there now."
        )
    reason = (told["error_message"] or "").removeprefix(f"{told['uri']}: ")
    return printable(f"The object could not be shown: {told['outcome']}. {reason}".strip())


def not_the_same(row: Row, n_crops: int, matches: bool) -> str | None:
    """Return why pictures may not be of what was judged; None where they are.

    Args:
        row: Of the report.
        n_crops: Found this time.
        matches: Whether these are the crops that the row tells of.
    """
    notes = []
    if row["etag"] is None and row["version_id"] is None:
        notes.append(
            "Storage told no identity of this object when it was judged, so nobody can say "
            "whether these pictures are of the same content."
        )
    if not matches:
        notes.append(
            f"{row['n_frames_scored']} face crops were judged, {n_crops} were found this time: "
            "another version of the package or of a decoder made these pictures."
        )
    return " ".join(notes) or None
