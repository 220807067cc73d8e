"""White-box attacks on a checkpoint's frame encoder as curves, beside those of robustness."""

from __future__ import annotations

from dfd_batch import checkpoint as checkpoints
from dfd_batch.evaluation.bootstrap import Estimate
from dfd_batch.evaluation.crops import Faces
from dfd_batch.evaluation.robustness import Curve, Point
from dfd_batch.features.cnn import FrameEncoder, load_part
from dfd_batch.training import adversarial
from dfd_batch.training.adversarial import H264_CRF, JPEG_QUALITY, attack_on_views
from dfd_batch.training.evaluate import auc

VIEWS = 8
"""Of the defence that is measured beside the bare detector (setting `features.views`)."""
ADAPTIVE_EPS = 2.0
AFTER = {"": "auc", f", JPEG {JPEG_QUALITY}": "auc_jpeg", f", H.264 CRF {H264_CRF}": "auc_h264"}
"""What is done to the attacked crops, and the figure then."""
DEFENDED = f", {VIEWS} random views"


def curves(checkpoint: str, faces: Faces, detector: str) -> tuple[list[Curve], dict[str, Estimate]]:
    """Return the AUC over the strength of FGSM, and the AUC under the other attacks.

    Args:
        checkpoint: Whose frame encoder is attacked, bare; judged are the bare one and the mean over
            random views. Of the attacks the last reckons with these.
        faces: Crops of its size, both classes.
        detector: Its name.
    """
    loaded = checkpoints.load(checkpoint)
    card = loaded.card
    encoder = FrameEncoder(card.architecture)
    load_part(encoder, loaded, "encoder")
    crops, labels = faces.crops, faces.labels
    bare = adversarial.victim(encoder, card.architecture, card.preprocessing)
    views = adversarial.judge_of_views(bare, VIEWS)
    adaptive = attack_on_views(bare, crops, labels, ADAPTIVE_EPS, VIEWS)
    drawn: dict[str, list[Point]] = {}
    others = {f"{adaptive.name} {ADAPTIVE_EPS:g}/255{DEFENDED}": auc(labels, views(adaptive.crops))}
    for attacked in adversarial.attacks(
        encoder, card.architecture, card.preprocessing, crops, labels
    ):
        point = adversarial.point(attacked, crops, labels, lambda x: adversarial.odds_of(bare, x))
        found = {after: float(getattr(point, figure)) for after, figure in AFTER.items()}
        found[DEFENDED] = auc(labels, views(attacked.crops))
        for after, value in found.items():
            if attacked.name in ("clean", "FGSM"):
                at = Point(attacked.eps, Estimate(value), len(labels))
                drawn.setdefault(f"FGSM{after}", []).append(at)
            else:
                others[f"{attacked.name}{after}"] = value
    return (
        [Curve(name, "eps (of 255)", tuple(points), detector) for name, points in drawn.items()],
        {name: Estimate(value) for name, value in others.items()},
    )
