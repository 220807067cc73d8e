"""`dfd show`: one object's verdict, its faces and segments, its timeline as a small plot."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dfd_batch.console.scan import say
from dfd_batch.console.text import VERDICT_STYLE, duration, printable, size, to_json
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Settings

MAX_CHOICES = 8
PLOT_ROWS = 11
PLOT_MARKERS = "•x+o*#"


def run(wanted: str, out: str, settings: Settings, as_json: bool) -> None:
    """Print the newest row of one object.

    Raises:
        UsageError: No object or more than one is meant.
    """
    row = one(wanted, out, settings)
    if as_json:
        typer.echo(to_json(row))
        return
    console = Console()
    _verdict(console, row)
    if row["faces"]:
        console.print(_faces(row["faces"]))
    for segment in row["segments"] or []:
        say(
            console,
            f"segment   {segment['start_s']:.2f}–{segment['end_s']:.2f} s, face "
            f"{segment['track']}, P(manipulated) {segment['probability']:.2f}",
        )
    if row["timeline"]:
        say(console, timeline(row["timeline"], row["threshold"], min(console.width, 100)))
    _probe(console, row)


def one(wanted: str, out: str, settings: Settings) -> dict[str, Any]:
    """Return the newest row of the one object that is meant.

    Raises:
        UsageError: None or several are; the message lists some of them.
    """
    rows = read.find(reports_uri(out), settings.storage, wanted)
    if not rows:
        raise UsageError(
            f"No report of {wanted!r} in {out}; `dfd summary --out {out}` says what was scanned."
        )
    if len(rows) > 1:
        told = [f"  {row['media_id'][:12]}  {printable(row['uri'])}" for row in rows[:MAX_CHOICES]]
        raise UsageError(
            f"{wanted!r} fits {len(rows)} objects; give one's path or the id before it:\n"
            + "\n".join(told)
            + ("\n  …" if len(rows) > MAX_CHOICES else "")
        )
    return rows[0]


def timeline(points: list[dict[str, Any]], threshold: float | None, width: int) -> str:
    """Return a plot of each face's probability of manipulation over time, as lines of text.

    Args:
        points: With `t_s`, `track` and `probability`.
        threshold: Marked on the axis where there is one.
        width: Columns.
    """
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, PLOT_ROWS)
    figure.title("P(manipulated) over seconds")
    ruler = figure.ruler("y")
    ruler.lim(0, 1)
    ruler.ticks(sorted({0.0, 1.0} | ({round(threshold, 2)} if threshold is not None else {0.5})))
    for track in sorted({p["track"] for p in points}):
        mine = [p for p in points if p["track"] == track]
        marker = PLOT_MARKERS[track % len(PLOT_MARKERS)]
        times_s, heights = [p["t_s"] for p in mine], [p["probability"] for p in mine]
        figure.draw(figure.signal(times_s, heights, marker=marker))
    text: str = plotext.uncolorize(figure.build().string())
    return text.rstrip()


def _verdict(console: Console, row: dict[str, Any]) -> None:
    say(console, f"object    {printable(row['uri'])}")
    if row["outcome"] == "scored":
        style = VERDICT_STYLE.get(row["verdict"], "")
        console.print(Text("verdict   ").append(row["verdict"], style=style))
        say(
            console,
            f"          P(manipulated) {row['probability']:.3f}, integrity "
            f"{row['integrity']:.3f}, suspicious from {row['threshold']:.2f}",
        )
    else:
        say(console, f"outcome   {row['outcome']} ({row['error_kind'] or 'no detail'}): no verdict")
        if row["error_message"]:
            say(console, f"          {printable(row['error_message'])}")
    if row["truncated"]:
        say(console, "          the file is truncated: judged by what could be read")


def _faces(faces: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("face", "mark", "P(manip.)", "from", "to", "frames", "largest box"):
        table.add_column(name, justify="right")
    for face in faces:
        box = face["box"] or {}
        corners = " ".join(f"{box[side]:.0f}" for side in ("x0", "y0", "x1", "y1") if side in box)
        table.add_row(
            str(face["track"]),
            PLOT_MARKERS[face["track"] % len(PLOT_MARKERS)],
            f"{face['probability']:.2f}",
            f"{face['first_s']:.1f} s",
            f"{face['last_s']:.1f} s",
            str(face["n_frames"]),
            corners,
        )
    return table


def _probe(console: Console, row: dict[str, Any]) -> None:
    """Print what the medium is, what was looked at, by whom, and what it cost."""
    known = [row["media"], row["container"], row["codec"]]
    medium = [printable(value) for value in known if value]
    if row["width"] and row["height"]:
        medium.append(f"{row['width']}x{row['height']}")
    if row["fps"]:
        medium.append(f"{row['fps']:.2f} fps")
    if row["duration_s"]:
        medium.append(duration(row["duration_s"]))
    if row["rotation"]:
        medium.append(f"rotated by {row['rotation']}°")
    if row["size_bytes"] is not None:
        medium.append(size(row["size_bytes"]))
    say(console, f"medium    {', '.join(medium) or 'unknown'}")
    say(
        console,
        f"looked at {row['n_clips'] or 0} clips, {row['n_frames_used'] or 0} frames of "
        f"{row['n_frames_decoded'] or 0} decoded, {row['n_frames_scored'] or 0} face crops scored, "
        f"{row['n_frames_repeated'] or 0} repeated",
    )
    steps = ("fetch", "decode", "face", "embed", "judge")
    times = [
        f"{step} {row[step + '_ms']:.0f} ms" for step in steps if row[step + "_ms"] is not None
    ]
    say(console, f"cost      {', '.join([*times, size(row['bytes_read'] or 0) + ' read'])}")
    say(
        console,
        f"by        {row['detector'] or 'detector'} {row['detector_id']}, dfd-batch "
        f"{row['package_version']}, attempt {row['attempt']}, "
        f"{row['scanned_at']:%Y-%m-%d %H:%M} UTC",
    )
    say(console, f"ids       object {row['media_id']}, run {row['run_id']}")
