"""Pictures of an evaluation: as SVG text, to stand inside a page, and as PNG files beside it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfd_batch.evaluation.results import Plots
from dfd_batch.evaluation.robustness import Curve

GENUINE, FAKE = "#2b6cb0", "#c0562b"
COLOURS = ("#1a202c", "#2f855a", "#b7791f", "#6b46c1", "#c53030", "#2b6cb0")
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and found by searching
    "svg.hashsalt": "dfd-batch",  # equal figures give equal pages
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
    "text.parse_math": False,  # names may hold dollar signs
}


def judged(plots: Sequence[Plots]) -> str:
    """Return ROC, reliability and score histograms of the detectors on one test set."""
    with plt.rc_context(STYLE):
        n = len(plots)
        figure = plt.figure(figsize=(10, 3.6 + 1.7 * (n - 1)), layout="constrained")
        axes = figure.subplot_mosaic([["roc", "reliability", f"h{i}"] for i in range(n)])
        roc, reliability = axes["roc"], axes["reliability"]
        _roc(roc, plots)
        _reliability(reliability, plots)
        roc.set_title("ROC")
        reliability.set_title("Reliability")
        for i, plot in enumerate(plots):
            _histogram(axes[f"h{i}"], plot, COLOURS[i % len(COLOURS)] if n > 1 else None)
        axes["h0"].legend(fontsize=8, frameon=False, loc="upper center", ncols=2)
        axes[f"h{n - 1}"].set_xlabel("P(manipulated)")
        if n > 1:
            roc.legend(fontsize=8, frameon=False, loc="lower right")
        told = ", ".join(plot.detector for plot in plots)
        return _svg(figure, f"ROC, reliability and histograms of the scores on this test: {told}")


def files(plots: Sequence[Plots]) -> dict[str, bytes]:
    """Return `roc.png` and `reliability.png`: a panel for each test set, a line for each detector.

    Nothing where there is nothing to draw.
    """
    if not plots:
        return {}
    return {"roc.png": _panels(plots, _roc), "reliability.png": _panels(plots, _reliability)}


def robustness(curves: Sequence[Curve]) -> str:
    """Return the curves: a panel for each change, a line for each detector."""
    names = list(dict.fromkeys(c.name for c in curves if len(c.points) > 1))
    detectors = list(dict.fromkeys(c.detector for c in curves))
    clean = {c.detector: c.points[0].auc.value for c in curves if len(c.points) == 1}
    with plt.rc_context(STYLE):
        columns = 3
        n_rows = max(1, -(-len(names) // columns))
        figure, axes = plt.subplots(
            n_rows, columns, figsize=(10, 2.7 * n_rows), layout="constrained", squeeze=False
        )
        for axis, name in zip(axes.flat, names, strict=False):
            for curve in (c for c in curves if c.name == name):
                colour = COLOURS[detectors.index(curve.detector) % len(COLOURS)]
                _curve(axis, curve, colour)
                reference = clean.get(curve.detector)
                if reference is not None:
                    axis.axhline(reference, color=colour, lw=0.8, ls=":")
            axis.set(title=name, ylabel="AUC")
            low, _ = axis.get_ylim()
            axis.set_ylim(min(low, 0.45), 1.005)
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        if len(detectors) > 1:
            axes.flat[0].legend(fontsize=8, frameon=False, loc="lower left")
        told = ", ".join(names)
        return _svg(figure, f"AUC by strength; evaluation.json has the numbers: {told}")


def _panels(plots: Sequence[Plots], draw: Callable[[Axes, Sequence[Plots]], None]) -> bytes:
    tests = list(dict.fromkeys(plot.test for plot in plots))
    columns = min(3, len(tests))
    n_rows = -(-len(tests) // columns)
    with plt.rc_context(STYLE):
        size = (4.5 * columns, 4.5 * n_rows)
        figure, axes = plt.subplots(
            n_rows, columns, figsize=size, layout="constrained", squeeze=False
        )
        for axis, test in zip(axes.flat, tests, strict=False):
            own = [plot for plot in plots if plot.test == test]
            draw(axis, own)
            axis.set_title(test)
            axis.legend(fontsize=8, frameon=False)
        for axis in axes.flat[len(tests) :]:
            axis.set_visible(False)
        sink = io.BytesIO()
        figure.savefig(sink, format="png", dpi=150)
        plt.close(figure)
    return sink.getvalue()


def _roc(axis: Axes, plots: Sequence[Plots]) -> None:
    _diagonal(axis)
    for i, plot in enumerate(plots):
        colour = COLOURS[i % len(COLOURS)]
        axis.plot(*plot.roc, color=colour, lw=1.6, label=plot.detector)
    axis.set(xlabel="false positive rate", ylabel="true positive rate")


def _reliability(axis: Axes, plots: Sequence[Plots]) -> None:
    _diagonal(axis)
    for i, plot in enumerate(plots):
        colour = COLOURS[i % len(COLOURS)]
        told, fakes, n_of = plot.reliability
        most = max(n_of)
        sizes = [8 + 40 * k / most for k in n_of]
        axis.plot(told, fakes, color=colour, lw=1, alpha=0.6)
        axis.scatter(told, fakes, s=sizes, color=colour, zorder=3, label=plot.detector)
    axis.set(xlabel="told probability", ylabel="share manipulated")


def _diagonal(axis: Axes) -> None:
    axis.plot([0, 1], [0, 1], color="#a0aec0", lw=1, ls="--")
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", anchor="N")


def _histogram(axis: Axes, plot: Plots, colour: str | None) -> None:
    width = 1 / len(plot.genuine)
    for counts, fill, label in (
        (plot.genuine, GENUINE, "genuine"),
        (plot.manipulated, FAKE, "manipulated"),
    ):
        total = max(1, sum(counts))
        left = [i * width for i in range(len(counts))]
        shares = [n / total for n in counts]
        axis.bar(left, shares, width, align="edge", color=fill, alpha=0.6, label=label)
    axis.set(xlim=(0, 1), ylabel="share of class")
    axis.set_ylim(0, 1.2 * axis.get_ylim()[1])  # room for the legend
    axis.set_title(plot.detector if colour else "Scores", color=colour or "black")


def _curve(axis: Axes, curve: Curve, colour: str) -> None:
    points = [p for p in curve.points if p.auc.value is not None]
    places = range(len(points))
    # what has no interval gets a NaN, which is not drawn
    value, low, high = (
        np.array([getattr(p.auc, of) for p in points], np.float64)
        for of in ("value", "low", "high")
    )
    axis.plot(places, value, color=colour, lw=1.6, marker="o", ms=3.5, label=curve.detector)
    axis.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)
    axis.set_xticks(list(places), [f"{p.x:g}" for p in points])
    axis.set_xlabel(curve.x_name)


def _svg(figure: Figure, told: str) -> str:
    """Return the picture with what it shows in words, for those who cannot see it."""
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = sink.getvalue()
    words = Markup(' role="img" aria-label="{}"').format(told)
    return text[text.index("<svg") :].replace("<svg", f"<svg{words}", 1)
