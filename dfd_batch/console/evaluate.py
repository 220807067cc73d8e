"""`dfd evaluate`: scan labelled media with the system's own pipeline and measure the verdicts."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from dfd_batch import __version__
from dfd_batch import checkpoint as checkpoints
from dfd_batch import storage as stores
from dfd_batch.checkpoint import ModelCard
from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.scan import say, watched
from dfd_batch.console.text import counts, printable
from dfd_batch.evaluation import labels, page, plots, protocol, results
from dfd_batch.evaluation.labels import TestSet
from dfd_batch.evaluation.operations import compare_cards
from dfd_batch.evaluation.results import Detector, Evaluation, Row
from dfd_batch.evaluation.verdicts import COLUMNS, NOT_SCANNED, Verdicts
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Select, Settings

KEY = ("uri", "detector_id")


@dataclass(frozen=True)
class Wanted:
    """What the user asks for."""

    tests: tuple[str, ...]
    out: str
    command: str
    layout: str | None = None
    split: str | None = None
    by: tuple[str, ...] = ()
    limit: int | None = None
    reports: str | None = None
    faces: tuple[Path, ...] = ()
    most_faces: int = 200
    attacks: bool = False
    quick: bool = False
    n_draws: int = 500


@dataclass(frozen=True)
class Contender:
    """One detector: its card and settings that name its checkpoint; neither for reports alone."""

    told: Detector
    settings: Settings
    card: ModelCard | None


def run(
    wanted: Wanted, names: list[str], settings: Settings, address: str | None, as_json: bool
) -> int:
    """Scan, measure, write, and return the exit code: whether each labelled object has its row.

    Raises:
        UsageError: The tests, the checkpoints, the output or flags beside each other cannot be
            used.
    """
    _refuse_useless(wanted)
    console = Console(stderr=as_json)
    # whatever a scan of the archive leaves out, labelled media are named one by one
    settings = settings.model_copy(update={"select": Select()})
    tests = _tests(wanted, settings)
    if not tests and not wanted.faces:
        raise UsageError("Give labelled media to test on, or --faces POOL.")
    flattered = [test.flattered for test in tests if test.flattered]
    for note in flattered:
        say(console, f"note      {printable(note)}")
    if wanted.reports is None:
        contenders = _contenders(names, settings)
        whole = _scan(tests, contenders, wanted.out, address, console)
    else:
        contenders, whole = _reported(tests, wanted.reports, names, settings), True
    found = Evaluation(
        command=wanted.command,
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        package_version=__version__,
        n_draws=wanted.n_draws,
        detectors=[c.told for c in contenders],
        tests=[_about(test) for test in tests],
        notes=flattered,
    )
    for contender in contenders:
        whole &= _assess(found, contender, tests, wanted, address, console)
    pairs = [(c.told.name, c.settings) for c in contenders if c.card is not None]
    for pool in wanted.faces:
        protocol.on_faces(
            found,
            pool,
            pairs,
            wanted.most_faces,
            lambda told: say(console, told),
            wanted.attacks,
        )
    found.notes += _notes(wanted, settings)
    found.cards = compare_cards({c.told.name: c.card for c in contenders if c.card is not None})
    text = page.render(found)
    uris = results.write(found, text, plots.files(found.plots), wanted.out, settings.storage)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1, ensure_ascii=False))
    else:
        _tell(console, found)
    for uri in uris:
        say(console, f"written   {printable(uri)}")
    return OK if whole else FAILED


def _refuse_useless(wanted: Wanted) -> None:
    """Refuse flags that would be passed over in silence, before anything is scanned."""
    if wanted.faces and wanted.quick:
        raise UsageError("--quick leaves out all that --faces is for: give only one of them.")
    if wanted.faces and wanted.reports is not None:
        raise UsageError(
            "--faces needs a checkpoint to judge the crops, --reports takes verdicts alone: "
            "evaluate --faces by a command of its own, without --reports."
        )
    if wanted.attacks and not wanted.faces:
        raise UsageError("--attacks needs faces to attack: name a prepared pool by --faces.")


def _tests(wanted: Wanted, settings: Settings) -> list[TestSet]:
    tests: list[TestSet] = []
    for source in wanted.tests:
        test = labels.read(source, settings.storage, wanted.layout, wanted.split, wanted.by)
        if wanted.limit is not None and len(test.samples) > wanted.limit:
            kept = np.linspace(0, len(test.samples) - 1, wanted.limit).astype(int)
            test = replace(test, samples=tuple(test.samples[i] for i in kept))
        tests.append(replace(test, name=results.unlike(test.name, {t.name for t in tests})))
    return tests


def _contenders(names: list[str], settings: Settings) -> list[Contender]:
    found: list[Contender] = []
    for name in names or [settings.checkpoint]:
        own = settings.model_copy(update={"checkpoint": name})
        card = checkpoints.load(name).card
        mark = checkpoints.detector_id(card, *own.judging)
        if mark in [c.told.detector_id for c in found]:
            raise UsageError(f"Checkpoint {name!r} is named twice; give each detector once.")
        title = f"{card.name} {card.version}"
        if title in [c.told.name for c in found]:
            title = f"{title} ({mark[:6]})"
        found.append(Contender(Detector(title, mark, name), own, card))
    return found


def _reported(
    tests: list[TestSet], reports: str, names: list[str], settings: Settings
) -> list[Contender]:
    """Return the detectors whose verdicts on the tests lie in existing reports: those named or all.

    Raises:
        UsageError: There is no verdict, or none of one that is named.
    """
    rows = _rows(reports, settings, tests, None, ("detector_id", "detector"))
    told = dict(zip(*(rows.column(c).to_pylist() for c in rows.column_names), strict=True))
    if not told:
        raise UsageError(f"The reports in {reports} hold no verdict on any of the labelled media.")
    if names:
        chosen = _contenders(names, settings)
        for one in chosen:
            if one.told.detector_id not in told:
                raise UsageError(
                    f"The reports in {reports} hold no verdict of {one.told.name} "
                    f"({one.told.detector_id}) with these settings on any of the labelled media; "
                    f"they hold those of {', '.join(f'{n} ({mark})' for mark, n in told.items())}."
                )
        return chosen
    titles = Counter(told.values())
    return [
        Contender(
            Detector(title if titles[title] == 1 else f"{title} ({mark[:6]})", mark, None),
            settings,
            None,
        )
        for mark, title in told.items()
    ]


def _scan(
    tests: list[TestSet],
    contenders: list[Contender],
    out: str,
    address: str | None,
    console: Console,
) -> bool:
    """Judge what has no verdict yet; return whether every object got its row."""
    uris = dict.fromkeys(s.uri for test in tests for s in test.samples)
    whole = True
    for contender in contenders:
        whole &= _scan_some(list(uris), "labelled", contender, out, address, console)
    return whole


def _scan_some(
    uris: list[str],
    name: str,
    contender: Contender,
    out: str,
    address: str | None,
    console: Console,
) -> bool:
    if not uris:
        return True
    settings = contender.settings
    manifest = stores.join(out, f"{name}.jsonl")
    lines = "".join(json.dumps({"uri": uri}) + "\n" for uri in uris)
    stores.write_bytes(manifest, lines.encode(), settings.storage)
    say(console, f"{contender.told.name}, {name}")
    done = watched(manifest, out, settings, address, console)
    if done.stopped is not None:
        raise UsageError(f"Stopped. {done.stopped} Run the same command again to go on.")
    return done.reconciled


def _rows(
    place: str,
    settings: Settings,
    tests: list[TestSet],
    detector_id: str | None,
    columns: tuple[str, ...] = COLUMNS,
) -> pa.Table:
    uris = pa.array([s.uri for test in tests for s in test.samples], pa.string())
    chosen = pc.field("uri").isin(uris)
    if detector_id is not None:
        chosen &= pc.field("detector_id") == detector_id
    return read.latest(reports_uri(place), settings.storage, columns, chosen, by=KEY)


def _assess(
    found: Evaluation,
    contender: Contender,
    tests: list[TestSet],
    wanted: Wanted,
    address: str | None,
    console: Console,
) -> bool:
    """Add one detector's figures; return whether all its rows are there."""
    place = wanted.reports or wanted.out
    rows = _rows(place, contender.settings, tests, contender.told.detector_id)
    with _bare(contender) as bare:
        whole, bare_rows = True, None
        if bare is not None and not wanted.quick and wanted.reports is None:
            is_video = rows.filter(
                (pc.field("media") == "video") & (pc.field("outcome") == "scored")
            )
            uris = is_video.column("uri").to_pylist()
            whole = _scan_some(uris, "videos", bare, wanted.out, address, console)
            bare_rows = _rows(place, bare.settings, tests, bare.told.detector_id)
    for test in tests:
        verdicts = Verdicts(test, rows)
        whole &= not any(outcome == NOT_SCANNED for outcome, _ in verdicts.outcomes)
        beside = Verdicts(test, bare_rows) if bare_rows is not None else None
        protocol.assess(found, contender.told.name, verdicts, test.name, beside)
    return whole


@contextmanager
def _bare(contender: Contender) -> Iterator[Contender | None]:
    """Lay out the same detector without its temporal head; None where it has none."""
    card = contender.card
    if card is None or card.architecture.temporal == "none":
        yield None
        return
    architecture = card.architecture.model_copy(update={"temporal": "none"})
    bare = card.model_copy(update={"architecture": architecture})
    with tempfile.TemporaryDirectory(prefix="dfd-no-lstm-") as folder:
        weights = checkpoints.resolve(contender.settings.checkpoint) / "model.safetensors"
        (Path(folder) / "model.safetensors").symlink_to(weights.resolve())
        (Path(folder) / "card.json").write_text(bare.model_dump_json(), encoding="utf-8")
        settings = contender.settings.model_copy(update={"checkpoint": folder})
        mark = checkpoints.detector_id(bare, *settings.judging)
        name = f"{contender.told.name} without its {card.architecture.temporal.upper()}"
        yield Contender(Detector(name, mark, folder), settings, bare)


def _about(test: TestSet) -> dict[str, object]:
    n_fake = sum(s.label for s in test.samples)
    return {
        "name": test.name,
        "source": test.source,
        "n_genuine": len(test.samples) - n_fake,
        "n_manipulated": n_fake,
        "n_groups": len({s.group for s in test.samples}),
        "splits": test.splits,
    }


def _notes(wanted: Wanted, settings: Settings) -> list[str]:
    notes = []
    if wanted.reports is None:
        notes.append(f"Videos were looked at with {settings.sampling.coverage.value} coverage.")
    if wanted.limit is not None:
        notes.append(f"At most {wanted.limit} objects of each test set were taken, evenly.")
    if wanted.quick:
        notes.append("A quick evaluation: no curves, no figures by operation, no LSTM baseline.")
    elif not wanted.faces:
        notes.append("No robustness curves: --faces names no pool of prepared faces.")
    return notes


def _tell(console: Console, found: Evaluation) -> None:
    for account in found.accounts:
        outcomes = {name: sum(n.values()) for name, n in account.outcomes.items()}
        listed = f"{account.n_listed:,} listed = {counts(outcomes)}"
        say(console, f"{printable(account.test)}, {printable(account.detector)}: {listed}")
    table = Table(box=None, pad_edge=False)
    for title in ("test", "detector", "AUC", "EER", "TPR@FPR 1 %", "ECE"):
        table.add_column(title, overflow="fold")
    for account in found.accounts:
        own = found.find(test=account.test, detector=account.detector, level="object", by="all")
        told = {row.metric: row for row in own}
        shown = [_figure(told[m]) for m in ("AUC", "EER", "TPR@FPR 1 %", "ECE")]
        table.add_row(printable(account.test), printable(account.detector), *shown)
    if found.accounts:
        console.print(table, markup=False)


def _figure(row: Row) -> str:
    if row.value is None:
        return "–"
    bounds = "" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]"
    return f"{row.value:.3f}{bounds}"
