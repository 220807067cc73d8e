"""`dfd forge`: pseudo-fakes of prepared faces, to look at before a training learns from them."""

from __future__ import annotations

from pathlib import Path

import typer

from dfd_batch.console.text import to_json


def run(out: Path, work: Path, seed: int, clips: bool, as_json: bool) -> None:
    """Write a contact sheet and print how fast its forgeries were made.

    Raises:
        UsageError: Nothing is prepared in the work directory, or the sheet cannot be written.
    """
    import cv2

    from dfd_batch.training import preview
    from dfd_batch.training.config import CLIP_FRAMES

    cv2.setNumThreads(1)  # the speed of one core
    made = preview.clips(work, seed) if clips else preview.stills(work, seed)
    preview.write(made, out)
    pace = made.pairs / max(made.seconds, 1e-9)
    if as_json:
        kind = "clips" if clips else "stills"
        told = {"sheet": str(out), "kind": kind, "pairs": made.pairs, "pairs_per_core_s": pace}
        typer.echo(to_json(told))
        return
    frames = f" ({CLIP_FRAMES * pace:.0f} frames/s)" if clips else ""
    what = f"clip pairs of {CLIP_FRAMES} frames" if clips else "still pairs"
    typer.echo(f"{out}: {made.pairs} {what}, {pace:.1f} pairs/s{frames} on one core")
