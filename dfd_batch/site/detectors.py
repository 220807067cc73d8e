"""Which detector judged a row, with which settings: from the run that the row names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dfd_batch import checkpoint as checkpoints
from dfd_batch.checkpoint import Checkpoint, Metric, ModelCard
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import read
from dfd_batch.reports.detectors import Judge
from dfd_batch.settings import Settings


@dataclass(frozen=True)
class JudgedBy:
    """The detector behind rows and the settings of their run, as far as they can be found."""

    detector_id: str
    title: str
    settings: Settings | None
    card: ModelCard | None
    checkpoint: Checkpoint | None
    missing: str | None = None
    """Why there is no checkpoint, in one sentence."""

    @property
    def calibrated(self) -> bool:
        """Whether the bands were set on the user's own genuine media, looked at the same way."""
        return self._judge is not None and self._judge.calibrated

    @property
    def false_alarm_rate(self) -> Metric | None:
        """Return the rate of genuine objects that come out `suspicious` or worse, if known."""
        judge, card = self._judge, self.card
        return judge.false_alarms(card.thresholds.suspicious) if judge and card else None

    @property
    def _judge(self) -> Judge | None:
        if self.card is None or self.settings is None:
            return None
        return Judge(self.card, self.settings)

    @property
    def verdict_settings(self) -> dict[str, Any]:
        """Return the settings that a verdict may depend on; how storage was reached is left out."""
        if self.settings is None:
            return {}
        wanted = {"checkpoint", "select", "sampling", "faces", "features", "limits"}
        return self.settings.model_dump(mode="json", include=wanted)


class Detectors:
    """Finds detectors by the rows that they judged; each is loaded once.

    Args:
        out: Where the scans wrote.
        settings: The reader's own: how storage is reached, and a checkpoint to try where that
            of the run has moved.
    """

    def __init__(self, out: str, settings: Settings) -> None:
        self._out = out
        self._own = settings
        self._runs: dict[str, dict[str, Any]] = {}
        self._found: dict[tuple[str, str], JudgedBy] = {}

    def account(self, run_id: str) -> dict[str, Any]:
        """Return a run's run.json and summary.json; nothing where its folder is gone."""
        if run_id not in self._runs:
            try:
                told = read.run_summary(self._out, self._own.storage, run_id)
            except UsageError:
                told = {}
            self._runs[run_id] = told
        return self._runs[run_id]

    def of(self, row: dict[str, Any]) -> JudgedBy:
        """Return what judged a row (`detector_id`, `detector`, `run_id`)."""
        settings = self._settings(row["run_id"])
        told = settings.model_dump_json() if settings else ""
        key = (row["detector_id"], told)
        if key not in self._found:
            self._found[key] = self._find(row, settings)
        return self._found[key]

    def _settings(self, run_id: str) -> Settings | None:
        try:
            used = Settings.model_validate(self.account(run_id)["settings"])
        except (KeyError, ValidationError):
            return None
        return used.model_copy(update={"storage": self._own.storage, "pools": self._own.pools})

    def _find(self, row: dict[str, Any], settings: Settings | None) -> JudgedBy:
        mark, title = row["detector_id"], row["detector"] or "detector"
        if settings is None:
            why = f"Run {row['run_id']} has no run.json that this package reads."
            return JudgedBy(mark, title, None, None, None, why)
        tried: list[str] = []
        for name in dict.fromkeys([settings.checkpoint, self._own.checkpoint]):
            try:
                card = checkpoints.load_card(name)
                if checkpoints.detector_id(card, *settings.judging) == mark:
                    return JudgedBy(mark, title, settings, card, checkpoints.load(name))
                tried.append(f"{name!r} is another detector")
            except UsageError as error:
                tried.append(str(error).rstrip("."))
        why = (
            f"Detector {mark}, which judged this, was not found ({'; '.join(tried)}): give "
            "--checkpoint the one that judged."
        )
        return JudgedBy(mark, title, settings, self._kept_card(row, settings), None, why)

    def _kept_card(self, row: dict[str, Any], settings: Settings) -> ModelCard | None:
        """Return the run's own copy of its detector's card, where it keeps one."""
        try:
            card = ModelCard.model_validate(self.account(row["run_id"])["card"])
        except (KeyError, ValidationError):
            return None  # runs of older packages keep none
        told = checkpoints.detector_id(card, *settings.judging)
        return card if told == row["detector_id"] else None
