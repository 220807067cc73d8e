"""The words a scan answers with: what became of an object, and what we think of it.

*Outcome* says whether an object could be judged, *verdict* what the judgement was. A failure is
an outcome, never a score: an object that cannot be assessed has no probability at all.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one object."""

    SCORED = "scored"
    NO_FACE = "no_face"
    FACE_TOO_SMALL = "face_too_small"
    TOO_DARK = "too_dark"
    TOO_BLURRY = "too_blurry"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    ACCESS_DENIED = "access_denied"
    MISSING = "missing"
    CHANGED = "changed"
    THROTTLED = "throttled"

    @property
    def retryable(self) -> bool:
        """Whether another attempt may end differently; all other outcomes are final."""
        return self in RETRYABLE

    @property
    def failed(self) -> bool:
        """Whether the object could not be looked at; no (usable) face in it is an answer."""
        return self not in ANSWERED


RETRYABLE = frozenset(
    {
        Outcome.TIMEOUT,
        Outcome.CRASHED,
        Outcome.ACCESS_DENIED,
        Outcome.MISSING,
        Outcome.CHANGED,
        Outcome.THROTTLED,
    }
)

ANSWERED = frozenset(
    {
        Outcome.SCORED,
        Outcome.NO_FACE,
        Outcome.FACE_TOO_SMALL,
        Outcome.TOO_DARK,
        Outcome.TOO_BLURRY,
    }
)


class Verdict(StrEnum):
    """Band of the calibrated probability of manipulation; null where not assessable."""

    AUTHENTIC = "authentic"
    INCONCLUSIVE = "inconclusive"
    SUSPICIOUS = "suspicious"
    MANIPULATED = "manipulated"


class MediaFault(Exception):  # noqa: N818 - a fault of the medium, not an error of the program
    """One object cannot be assessed; becomes that object's typed outcome, never ends a scan.

    Args:
        outcome: What the object's row will say; not `scored`.
        kind: Short machine-readable cause, e.g. `no_video_stream`, `SIGABRT`.
        message: One sentence for a person; cut to 300 characters in the report.
    """

    def __init__(self, outcome: Outcome, kind: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type[MediaFault], tuple[Outcome, str, str]]:
        """Keep the three fields when the fault crosses a process."""
        return (MediaFault, (self.outcome, self.kind, self.message))


class UsageError(Exception):
    """The user asked for something that cannot be done; one clear sentence, exit code 2."""
