"""White-box attacks on a checkpoint's frame encoder as curves, beside those of robustness."""

from __future__ import annotations

from dfd_batch import checkpoint as checkpoints
from dfd_batch.evaluation.bootstrap import N_DRAWS, Estimate, measure
from dfd_batch.evaluation.crops import Faces
from dfd_batch.evaluation.metrics import Floats
from dfd_batch.evaluation.robustness import Curve, Point
from dfd_batch.features.cnn import network
from dfd_batch.training import white_box
from dfd_batch.training.pools import Image
from dfd_batch.training.white_box import (
    H264_CRF,
    JPEG_QUALITY,
    as_shared,
    attack_on_views,
    iterated_attack_on_views,
)

VIEWS = 8
"""Of the defence that is measured beside the bare detector (setting `features.views`)."""
ADAPTIVE_EPS = 2.0
AFTER = ("", f", JPEG {JPEG_QUALITY}", f", H.264 CRF {H264_CRF}")
"""What is done to the attacked crops, in the order of `as_shared`."""
DEFENDED = f", {VIEWS} random views"


def curves(
    checkpoint: str, faces: Faces, detector: str, n_draws: int = N_DRAWS
) -> tuple[list[Curve], dict[str, Estimate]]:
    """Return the AUC over the strength of FGSM, and the AUC under the other attacks.

    Args:
        checkpoint: Whose frame encoder is attacked, bare; judged are the bare one and the mean over
            random views. Two of the attacks reckon with these.
        faces: Crops of its size, both classes.
        detector: Its name.
        n_draws: Of the bootstrap.
    """
    loaded = checkpoints.load(checkpoint)
    card = loaded.card
    encoder = network(loaded)
    crops, labels = faces.crops, faces.labels
    bare = white_box.victim(encoder, card.architecture, card.preprocessing)
    views = white_box.judge_of_views(bare, VIEWS)
    adaptive = (
        attack_on_views(bare, crops, labels, ADAPTIVE_EPS, VIEWS),
        iterated_attack_on_views(bare, crops, labels, ADAPTIVE_EPS),
    )

    def auc(judge: white_box.Judge, seen: Image) -> Estimate:
        return measure(labels, judge(seen), faces.groups, n_draws=n_draws)["AUC"]

    def undefended(seen: Image) -> Floats:
        return white_box.odds_of(bare, seen)

    drawn: dict[str, list[Point]] = {}
    others = {f"{a.name} {a.eps:g}/255{DEFENDED}": auc(views, a.crops) for a in adaptive}
    for attacked in white_box.attacks(
        encoder, card.architecture, card.preprocessing, crops, labels
    ):
        shared = zip(AFTER, as_shared(attacked.crops), strict=True)
        found = {after: auc(undefended, seen) for after, seen in shared}
        found[DEFENDED] = auc(views, attacked.crops)
        for after, value in found.items():
            if attacked.name in ("clean", "FGSM"):
                at = Point(attacked.eps, value, len(labels))
                drawn.setdefault(f"FGSM{after}", []).append(at)
            else:
                others[f"{attacked.name}{after}"] = value
    return (
        [Curve(name, "eps (of 255)", tuple(points), detector) for name, points in drawn.items()],
        others,
    )
