"""Questions that are asked of every archive, by name: SQL over `views.VIEWS` and its variables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from dfd_batch.outcomes import RETRYABLE

_WORDS = {
    "$AGAIN": ", ".join(f"'{outcome}'" for outcome in sorted(RETRYABLE)),
    "$FLAGGED": "verdict IN ('suspicious', 'manipulated')",
    "$MINE": "starts_with(uri, getvariable('prefix'))",
}


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        told: What it answers, in a line.
        sql: One statement.
        variables: What may be set, with the values they have otherwise.
    """

    told: str
    sql: str
    variables: dict[str, Any] = field(default_factory=dict)


_QUESTIONS: dict[str, Question] = {
    "worst": Question(
        "the most suspicious objects first",
        """SELECT uri, verdict, round(probability, 4) AS probability, n_faces,
    len(segments) AS n_segments, media, round(duration_s, 1) AS duration_s, scanned_at
FROM verdicts WHERE outcome = 'scored' AND $MINE
ORDER BY probability DESC, uri LIMIT getvariable('limit')""",
        {"prefix": "", "limit": 20},
    ),
    "by-prefix": Question(
        "folders, those with most manipulated objects first",
        """SELECT regexp_replace(uri, '[^/]*$', '') AS folder, count(*) AS objects,
    count_if(outcome = 'scored') AS scored, count_if(verdict = 'manipulated') AS manipulated,
    count_if(verdict = 'suspicious') AS suspicious, round(max(probability), 4) AS worst,
    sum(size_bytes)::BIGINT AS size_bytes
FROM verdicts WHERE $MINE GROUP BY folder
ORDER BY manipulated DESC, suspicious DESC, folder LIMIT getvariable('limit')""",
        {"prefix": "", "limit": 50},
    ),
    "by-day": Question(
        "what was scanned on each day (UTC) and what was found",
        """SELECT scanned_at::DATE AS day, count(*) AS n_rows, count(DISTINCT uri) AS objects,
    count(DISTINCT run_id) AS runs, count_if(outcome = 'scored') AS scored,
    count_if(verdict = 'manipulated') AS manipulated,
    count_if(verdict = 'suspicious') AS suspicious, sum(size_bytes)::BIGINT AS size_bytes,
    round(sum(duration_s) / 3600, 2) AS media_hours
FROM report WHERE $MINE GROUP BY day ORDER BY day DESC LIMIT getvariable('limit')""",
        {"prefix": "", "limit": 90},
    ),
    "failures": Question(
        "objects without a verdict, by outcome and cause",
        """SELECT outcome, error_kind, count(*) AS objects,
    outcome IN ($AGAIN) AS retryable,
    max(attempt) AS attempts, min(uri) AS example, arg_min(error_message, uri) AS message
FROM verdicts WHERE outcome <> 'scored' AND $MINE
GROUP BY outcome, error_kind ORDER BY objects DESC, outcome, error_kind
LIMIT getvariable('limit')""",
        {"prefix": "", "limit": 50},
    ),
    "drift": Question(
        "scores of each run beside the detector's run before it; psi > 0.25: look into it",
        """WITH scored AS (SELECT * FROM report WHERE outcome = 'scored' AND $MINE),
told AS (
    SELECT detector_id, run_id, min(scanned_at) AS began, count(*) AS n,
        avg(probability) AS mean, quantile_cont(probability, 0.5) AS median,
        quantile_cont(probability, 0.9) AS p90, count_if($FLAGGED) AS flagged,
        lag(run_id) OVER (PARTITION BY detector_id ORDER BY min(scanned_at), run_id) AS previous
    FROM scored GROUP BY detector_id, run_id),
shares AS (
    SELECT t.detector_id, t.run_id, b.bin, (count(s.uri) + 0.5) / (any_value(t.n) + 5) AS share
    FROM told t CROSS JOIN range(10) b(bin) LEFT JOIN scored s ON s.run_id = t.run_id
        AND s.detector_id = t.detector_id AND least(floor(s.probability * 10), 9) = b.bin
    GROUP BY t.detector_id, t.run_id, b.bin),
shifts AS (
    SELECT t.detector_id, t.run_id, sum((a.share - p.share) * ln(a.share / p.share)) AS psi
    FROM told t JOIN shares a ON a.run_id = t.run_id AND a.detector_id = t.detector_id
        JOIN shares p ON p.run_id = t.previous AND p.detector_id = t.detector_id AND p.bin = a.bin
    GROUP BY t.detector_id, t.run_id)
SELECT run_id, detector_id, began, n, round(mean, 4) AS mean, round(median, 4) AS median,
    round(p90, 4) AS p90, round(flagged / n, 4) AS flagged,
    round(share_low(flagged, n), 4) AS flagged_low, round(share_high(flagged, n), 4)
    AS flagged_high, previous, round(psi, 4) AS psi
FROM told LEFT JOIN shifts USING (detector_id, run_id)
ORDER BY began DESC, run_id LIMIT getvariable('limit')""",
        {"prefix": "", "limit": 30},
    ),
    "changes": Question(
        "objects whose content one detector scored otherwise than another",
        """WITH each AS (
    SELECT * FROM report WHERE outcome = 'scored' AND $MINE QUALIFY row_number() OVER
        (PARTITION BY media_id, detector_id ORDER BY scanned_at DESC, attempt DESC) = 1),
pairs AS (
    SELECT uri, detector_id, verdict, probability, scanned_at,
        lag(detector_id) OVER w AS detector_before, lag(verdict) OVER w AS verdict_before,
        lag(probability) OVER w AS probability_before
    FROM each WINDOW w AS (PARTITION BY media_id ORDER BY scanned_at))
SELECT uri, verdict_before, verdict, round(probability_before, 4) AS probability_before,
    round(probability, 4) AS probability, detector_before, detector_id
FROM pairs WHERE detector_before IS NOT NULL
ORDER BY abs(probability - probability_before) DESC, uri LIMIT getvariable('limit')""",
        {"prefix": "", "limit": 20},
    ),
    "prevalence": Question(
        "share of manipulated objects, corrected by the calibrated false alarm rate, with 95 % "
        "interval; detection_rate: share of manipulated ones that are found",
        """WITH told AS (
    SELECT detector_id, count(*) AS scored, count_if($FLAGGED) AS flagged
    FROM verdicts WHERE outcome = 'scored' AND $MINE GROUP BY detector_id),
rates AS (
    SELECT told.*, d.detector, d.fpr, d.fpr_low, d.fpr_high,
        getvariable('detection_rate')::DOUBLE AS tpr,
        share_low(flagged, scored) AS low, share_high(flagged, scored) AS high
    FROM told LEFT JOIN detectors d ON d.detector_id = told.detector_id AND d.band = 'suspicious')
SELECT detector_id, detector, scored, flagged, round(flagged / scored, 4) AS flagged_share,
    round(low, 4) AS flagged_low, round(high, 4) AS flagged_high, fpr, tpr AS detection_rate,
    round(corrected(flagged / scored, fpr, tpr), 4) AS prevalence,
    round(corrected(low, fpr_high, tpr), 4) AS prevalence_low,
    round(corrected(high, fpr_low, tpr), 4) AS prevalence_high,
    CASE WHEN fpr IS NULL THEN 'not calibrated on your media (dfd calibrate): share flagged only'
        WHEN tpr = 1 THEN 'at least: as if every manipulated object were found' END AS note
FROM rates ORDER BY scored DESC""",
        {"prefix": "", "detection_rate": 1.0},
    ),
    "false-alarms": Question(
        "false alarms to expect at each threshold, were all scored objects genuine",
        """WITH scored AS (
    SELECT detector_id, probability FROM verdicts WHERE outcome = 'scored' AND $MINE),
told AS (
    SELECT detector_id, d.band, count(*) AS scored,
        count_if(s.probability >= d.threshold) AS flagged
    FROM detectors d JOIN scored s USING (detector_id) GROUP BY ALL)
SELECT d.detector, band, round(d.threshold, 4) AS threshold, scored, flagged, d.fpr,
    round(scored * d.fpr, 2) AS expected_false_alarms,
    round(scored * d.fpr_low, 2) AS expected_low,
    round(scored * d.fpr_high, 2) AS expected_high, d.n_genuine,
    CASE WHEN NOT d.calibrated THEN 'not calibrated on your media (dfd calibrate)'
        WHEN d.fpr IS NULL THEN 'too few genuine media for this band' END AS note
FROM told JOIN detectors d USING (detector_id, band)
ORDER BY d.detector, threshold""",
        {"prefix": ""},
    ),
    "cost": Question(
        "work per TB of objects by kind of medium; price_per_hour: of one busy process",
        """WITH told AS (
    SELECT coalesce(media, 'unknown') AS media, count(*) AS n_rows,
        sum(size_bytes)::BIGINT AS size_bytes, sum(bytes_read)::BIGINT AS bytes_read,
        sum(duration_s) / 3600 AS media_hours,
        sum(coalesce(fetch_ms, 0) + coalesce(decode_ms, 0) + coalesce(face_ms, 0)) / 3.6e6 AS crop,
        sum(coalesce(embed_ms, 0) + coalesce(judge_ms, 0)) / 3.6e6 AS net
    FROM report WHERE $MINE GROUP BY 1)
SELECT media, n_rows, size_bytes, bytes_read, round(media_hours, 2) AS media_hours,
    round(crop, 3) AS decode_and_face_hours, round(net, 3) AS network_hours,
    round((crop + net) * 1e12 / nullif(size_bytes, 0), 1) AS hours_per_tb,
    round((crop + net) * 1e12 / nullif(size_bytes, 0) * getvariable('price_per_hour'), 2)
        AS cost_per_tb
FROM told ORDER BY size_bytes DESC NULLS LAST""",
        {"prefix": "", "price_per_hour": None},
    ),
}


def _whole(question: Question) -> Question:
    sql = question.sql
    for word, meant in _WORDS.items():
        sql = sql.replace(word, meant)
    return replace(question, sql=sql)


QUESTIONS = {name: _whole(question) for name, question in _QUESTIONS.items()}
"""By the name that `dfd query` takes."""
