"""What is to be done to which objects: a TOML file, checked before anything is looked at."""

from __future__ import annotations

import fnmatch
import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError, Verdict
from dfd_batch.reports.actions import Action
from dfd_batch.settings import explain

Probability = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rule(_Section):
    verdicts: Annotated[tuple[Verdict, ...], Field(min_length=1)]
    min_probability: Probability = 0.0
    max_probability: Probability = 1.0

    def fits(self, row: dict[str, Any]) -> bool:
        """Return whether a scored row is meant."""
        inside = self.min_probability <= row["probability"] <= self.max_probability
        return inside and row["verdict"] in self.verdicts


class Tag(_Rule):
    """Tags every scored object with its verdict: the default policy is this alone."""

    verdicts: tuple[Verdict, ...] = tuple(Verdict)


class Allow(_Rule):
    """Gives genuine objects the tag that a bucket's policy can ask of what its readers get."""

    verdicts: tuple[Verdict, ...] = (Verdict.AUTHENTIC,)


class Quarantine(_Rule):
    """Moves objects to a place of their own, from where `dfd restore` brings them back."""

    to: Annotated[str, Field(min_length=1)]
    verdicts: tuple[Verdict, ...] = (Verdict.MANIPULATED,)


class Delete(_Rule):
    """Removes objects; refused where the detector's false alarms are not known to be few."""

    max_false_alarm_rate: Annotated[float, Field(gt=0, le=0.1)]
    """Greatest share of genuine objects that may be deleted, by the detector's calibration."""
    max_false_alarms: Annotated[float, Field(gt=0)] | None = None
    """Greatest number that is to be expected among all scored objects, were all genuine."""
    verdicts: tuple[Verdict, ...] = (Verdict.MANIPULATED,)
    permanent: bool = False
    """In a bucket that keeps versions: the version itself, not a marker over it."""

    @field_validator("verdicts")
    @classmethod
    def _never_genuine(cls, given: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        harmless = {Verdict.AUTHENTIC, Verdict.INCONCLUSIVE} & set(given)
        if harmless:
            raise ValueError(f"{harmless.pop().value} objects are never deleted")
        return given


class Policy(_Section):
    """All rules; of quarantine and delete the more harmful one that fits is taken."""

    tag: Tag | Literal[False] = Tag()
    allow: Allow | None = None
    quarantine: Quarantine | None = None
    delete: Delete | None = None
    allow_list: tuple[str, ...] = ()
    """Globs on URIs of objects that are known to be genuine: never tagged, moved or deleted."""

    @property
    def digest(self) -> str:
        """Return 16 hex digits that name this policy in the table of actions."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def listed(self, uri: str) -> bool:
        """Return whether an object is on the allow-list."""
        return any(fnmatch.fnmatchcase(uri, glob) for glob in self.allow_list)

    def actions(self, row: dict[str, Any]) -> list[Action]:
        """Return what is to be done to a scored row's object, in this order."""
        if self.listed(row["uri"]):
            return [Action.ALLOW] if self.allow else []
        if self.delete and self.delete.fits(row):
            return [Action.DELETE]
        found = [Action.TAG] if self.tag and self.tag.fits(row) else []
        if self.quarantine and self.quarantine.fits(row):
            inside = row["uri"].startswith(self.quarantine.to.rstrip("/") + "/")
            return found if inside else [*found, Action.QUARANTINE]
        return [*found, Action.ALLOW] if self.allow and self.allow.fits(row) else found


def load(path: Path | None) -> Policy:
    """Return the policy of a file; without one, that which only tags.

    A relative `quarantine.to` counts from the file's folder.

    Raises:
        UsageError: There is no such file, or it is none; names the key.
    """
    if path is None:
        return Policy()
    try:
        policy = Policy(**tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    return _anchored(policy, path.absolute().parent)


def _anchored(policy: Policy, folder: Path) -> Policy:
    """Return a policy whose quarantine is named as objects are: `dfd restore` starts anywhere."""
    rule = policy.quarantine
    if rule is None:
        return policy
    if stores.is_s3(rule.to):
        stores.split_s3(rule.to)
        return policy
    to = stores.local_uri(folder / stores.local_path(rule.to))
    return policy.model_copy(update={"quarantine": rule.model_copy(update={"to": to})})
