"""One self-contained page of an evaluation: tables, pictures, and how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dfd_batch.evaluation import plots
from dfd_batch.evaluation.results import Evaluation, Row
from dfd_batch.outcomes import Outcome

MAIN = ("AUC", "AP", "EER", "TPR@FPR 1 %", "TPR@FPR 0.1 %", "log loss", "Brier", "ECE")
SHORT = ("AUC", "EER", "false alarms", "detected")
AT_THRESHOLD = ("false alarms", "detected")


def render(found: Evaluation) -> str:
    """Return the page as HTML; everything but our own pictures is escaped."""
    environment = Environment(
        loader=PackageLoader("dfd_batch.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    template = environment.get_template("page.html.jinja")
    return template.render(
        found=found,
        outcomes=[o.value for o in Outcome],
        names=[d.name for d in found.detectors],
        matrix=_matrix(found),
        tests=[_test(found, test["name"]) for test in found.tests],
        faces=_faces(found),
    )


def figure(row: Row | None, digits: int = 3) -> Markup:
    """Return a figure with its interval; a dash where there is none."""
    if row is None or row.value is None:
        return Markup('<span class="none">–</span>')
    text = Markup("<b>{}</b>").format(_number(row.value, digits))
    if row.low is None or row.high is None:
        return text
    bounds = f"{_number(row.low, digits)} – {_number(row.high, digits)}"
    return text + Markup(' <span class="ci">{}</span>').format(bounds)


def _number(value: float, digits: int) -> str:
    """Return a number without the zero before its point, as tables of rates write it."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _one(rows: Sequence[Row], **where: str) -> Row | None:
    return next((r for r in rows if all(getattr(r, k) == v for k, v in where.items())), None)


def _matrix(found: Evaluation) -> list[tuple[str, list[Row | None]]]:
    rows = found.find(level="object", by="all", metric="AUC")
    return [
        (d.name, [_one(rows, detector=d.name, test=t["name"]) for t in found.tests])
        for d in found.detectors
    ]


def _test(found: Evaluation, name: str) -> dict[str, Any]:
    drawn = [p for p in found.plots if p.test == name]
    return {
        "name": name,
        "accounts": [a for a in found.accounts if a.test == name],
        "picture": Markup(plots.judged(drawn)) if drawn else None,  # noqa: S704 - our own SVG
        "detectors": [_judged(found, name, d.name) for d in found.detectors],
    }


def _judged(found: Evaluation, test: str, detector: str) -> dict[str, Any]:
    rows = found.find(test=test, detector=detector)
    whole = [r for r in rows if r.by == "all"]
    objects = [r for r in rows if r.level == "object"]
    columns: list[tuple[str, list[Row]]] = [
        ("objects", [r for r in whole if r.level == "object"]),
        ("frames", [r for r in whole if r.level == "frame"]),
    ]
    baselines = [r for r in objects if r.by == "baseline"]
    for name in dict.fromkeys(r.slice for r in baselines):
        columns.append((name, [r for r in baselines if r.slice == name]))
    difference = "AUC of ours minus this"
    return {
        "name": detector,
        "columns": [(title, part[0]) for title, part in columns if part],
        "figures": [
            (metric, [_one(part, metric=metric) for _, part in columns if part])
            for metric in (*MAIN, *AT_THRESHOLD, difference)
        ],
        "slices": _table([r for r in objects if r.by not in ("all", "baseline")], SHORT),
        "segments": [r for r in rows if r.level == "segment"],
    }


def _table(rows: Sequence[Row], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Return a line for each slice with some of its figures."""
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row.by, row.slice), []).append(row)
    return [
        {
            "by": by,
            "slice": name,
            "counted": own[0],
            "figures": [_one(own, metric=m) for m in metrics],
        }
        for (by, name), own in lines.items()
    ]


def _faces(found: Evaluation) -> list[dict[str, Any]]:
    """Return for each pool its figures, attacks and operations; detectors across."""
    made = [r for r in found.rows if r.level in ("face", "clip")]
    names = [d.name for d in found.detectors]

    def across(rows: Sequence[Row], metric: str) -> list[Row | None]:
        return [_one(rows, detector=name, metric=metric) for name in names]

    tables = []
    for test in dict.fromkeys(r.test for r in made):
        own = [r for r in made if r.test == test]
        whole = [r for r in own if r.by == "all"]
        attacked = [r for r in own if r.by == "attack"]
        forged = [r for r in own if r.by == "operation"]
        curves = [c for c in found.curves if c.test == test]
        operations = []
        for level, name in dict.fromkeys((r.level, r.slice) for r in forged):
            at = [r for r in forged if (r.level, r.slice) == (level, name)]
            pairs = zip(across(at, "AUC"), across(at, "AUC minus the first's"), strict=True)
            operations.append((level, name, at[0].n_manipulated, list(pairs)))
        tables.append(
            {
                "test": test,
                "counted": whole[0] if whole else None,
                "figures": [(m, across(whole, m)) for m in MAIN] if whole else [],
                "attacks": [
                    (name, across([r for r in attacked if r.slice == name], "AUC"))
                    for name in dict.fromkeys(r.slice for r in attacked)
                ],
                "operations": operations,
                "picture": Markup(plots.robustness(curves)) if curves else None,  # noqa: S704
            }
        )
    return tables
