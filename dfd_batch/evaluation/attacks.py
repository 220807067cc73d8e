"""White-box attacks on a checkpoint's frame encoder as curves, beside those of robustness."""

from __future__ import annotations

from dfd_batch import checkpoint as checkpoints
from dfd_batch.evaluation.bootstrap import Estimate
from dfd_batch.evaluation.crops import Faces
from dfd_batch.evaluation.robustness import Curve, Point
from dfd_batch.features.cnn import FrameEncoder, load_part
from dfd_batch.training.adversarial import H264_CRF, JPEG_QUALITY, adversarial_curve

AFTER = {"": "auc", f", JPEG {JPEG_QUALITY}": "auc_jpeg", f", H.264 CRF {H264_CRF}": "auc_h264"}
"""What is done to the attacked crops, and the figure then."""


def curves(checkpoint: str, faces: Faces, detector: str) -> tuple[list[Curve], dict[str, Estimate]]:
    """Return the AUC over the strength of FGSM, and the AUC under Carlini and Wagner's attack.

    Args:
        checkpoint: Whose frame encoder is attacked.
        faces: Crops of its size, both classes.
        detector: Its name.
    """
    loaded = checkpoints.load(checkpoint)
    card = loaded.card
    encoder = FrameEncoder(card.architecture)
    load_part(encoder, loaded, "encoder")
    found = adversarial_curve(
        encoder, card.architecture, card.preprocessing, faces.crops, faces.labels
    )
    steps = [point for point in found if point.name in ("clean", "FGSM")]
    drawn = []
    for after, figure in AFTER.items():
        points = [
            Point(p.eps, Estimate(float(getattr(p, figure))), len(faces.labels)) for p in steps
        ]
        drawn.append(Curve(f"FGSM{after}", "eps (of 255)", tuple(points), detector))
    last = found[-1]
    return drawn, {
        f"{last.name}{after}": Estimate(float(getattr(last, figure)))
        for after, figure in AFTER.items()
    }
