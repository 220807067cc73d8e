"""What a tick does, from one TOML file that is checked before anything is looked at."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfd_batch import checkpoint as checkpoints
from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import policy as policies
from dfd_batch.settings import Settings, explain, validated
from dfd_batch.site.build import Pictures
from dfd_batch.site.selection import BANDS

Seconds = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scan(_Section):
    """What is looked at, and where."""

    address: str | None = None
    """Ray cluster; else RAY_ADDRESS, else the tick's own machine."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Objects of one tick; the next one goes on. A large archive's first ticks then end in time."""
    full_every_hours: Annotated[float, Field(ge=0)] = 0.0
    """At least so often everything that is listed is compared with the reports; ticks in between
    go by time (`dfd scan --since-last`). 0: every tick compares everything."""


class Compact(_Section):
    """Few report files instead of many, once a day is over."""

    enabled: bool = True
    days: Annotated[int, Field(ge=1)] = 30
    """Days back from today that are looked at; `dfd compact` does older ones."""


class Act(_Section):
    """What is done to objects; only said, not done, unless the tick is given --apply."""

    enabled: bool = True
    policy: Path | None = None
    """TOML file (`dfd act --help`); without it objects are only tagged."""
    where: str | None = None
    """SQL over `verdicts` that narrows the objects."""
    max_removals: Annotated[int, Field(ge=0)] = 100
    """Where a policy wants to quarantine or delete more objects than these in one tick, none is
    touched and the tick fails: a person should look (`dfd act` has no such limit)."""


class Report(_Section):
    """The site of static pages, written anew when there are new verdicts."""

    enabled: bool = True
    to: str | None = None
    """Folder or s3:// prefix; else OUT/ticks/page."""
    pictures: Pictures = Pictures.NONE
    """none, blurred or clear: pictures cost a second look at the media, and show people."""
    least: Annotated[str, Field(pattern="|".join(BANDS))] = "suspicious"
    limit: Annotated[int, Field(ge=0)] = 200


class When(StrEnum):
    """Of which ticks the webhook hears."""

    ALWAYS = "always"
    NEWS = "news"  # objects were judged, something was done to them, or something failed
    TROUBLE = "trouble"


class Notify(_Section):
    """Who is told: a webhook gets the summary as JSON, by POST."""

    url_env: str = "TICK_WEBHOOK_URL"
    """Environment variable that holds the URL, which is a secret in most services."""
    url_file: Path | None = None
    """File that holds it, e.g. a mounted secret; goes before the variable."""
    when: When = When.NEWS
    objects: Annotated[int, Field(ge=0)] = 0
    """So many flagged objects, the worst first, are named; names may tell about people."""
    timeout_s: Seconds = 10.0
    retries: Annotated[int, Field(ge=0, le=20)] = 5


class Exclusion(_Section):
    """How overlapping ticks exclude each other: a lease below OUT."""

    beat_s: Seconds = 60.0
    """A living tick renews its lease so often …"""
    expires_s: Seconds = 900.0
    """… and one that has not been renewed for so long belongs to a dead tick."""
    wait_s: Annotated[float, Field(ge=0)] = 0.0
    """A tick waits so long for another to end before it gives up."""


class Rules(_Section):
    """The whole file. Relative paths count from its folder."""

    source: str
    out: str
    scan: Scan = Scan()
    compact: Compact = Compact()
    act: Act = Act()
    report: Report = Report()
    notify: Notify = Notify()
    lease: Exclusion = Exclusion()
    settings: dict[str, Any] = {}
    """What `dfd.toml` may hold: checkpoint, select, storage, sampling, limits, pools …"""


@dataclass(frozen=True)
class Job:
    """A tick's rules, checked, with all that they name."""

    rules: Rules
    settings: Settings
    policy: policies.Policy

    @property
    def page(self) -> str:
        """Return where the site goes."""
        return self.rules.report.to or stores.join(self.rules.out, "ticks", "page")

    def at(self, address: str) -> Job:
        """Return the same job on another Ray cluster."""
        scan = self.rules.scan.model_copy(update={"address": address})
        return replace(self, rules=self.rules.model_copy(update={"scan": scan}))


def load(path: Path) -> Job:
    """Return what a tick's file asks for.

    Raises:
        UsageError: The file, the policy or the checkpoint that it names is none; names the key.
    """
    try:
        rules = Rules(**tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if rules.lease.expires_s < 3 * rules.lease.beat_s:
        raise UsageError(f"{path}: lease.expires_s must be at least three times lease.beat_s.")
    rules = _anchored(rules, path.absolute().parent)
    settings = validated(rules.settings)
    settings = settings.model_copy(update={"storage": stores.resolved(settings.storage)})
    checkpoints.load_card(settings.checkpoint)
    return Job(rules, settings, policies.load(rules.act.policy))


def _anchored(rules: Rules, folder: Path) -> Rules:
    """Return rules whose relative paths start at their file's folder: cron starts anywhere."""

    def place(uri: str) -> str:
        return uri if "://" in uri else str(folder / uri)

    def file(given: Path | None) -> Path | None:
        return None if given is None else folder / given

    act, report, notify = rules.act, rules.report, rules.notify
    return rules.model_copy(
        update={
            "source": place(rules.source),
            "out": place(rules.out),
            "act": act.model_copy(update={"policy": file(act.policy)}),
            "report": report.model_copy(update={"to": report.to and place(report.to)}),
            "notify": notify.model_copy(update={"url_file": file(notify.url_file)}),
        }
    )
