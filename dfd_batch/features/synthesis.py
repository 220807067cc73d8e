"""The second look at stills: was the whole face made by a generator?

A network trained on faces knows the generators it was shown; what a network had learned of pictures
in general tells generated ones of kinds that nobody showed it (Ojha et al., Towards Universal Fake
Image Detectors that Generalize Across Generative Models, CVPR 2023). So this one is a backbone as
it was before any training on faces, under a linear layer. Films are left out: there it finds
nothing that the others miss, and would cost as much again.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dfd_batch.checkpoint import Architecture

PART: Final = "synthesis"
"""Prefix of its weights in a checkpoint."""
Floats = NDArray[np.floating[Any]]


def network_of(architecture: Architecture) -> Architecture:
    """Return the architecture of the second network: the detector's backbone with one logit."""
    return Architecture(encoder=architecture.encoder)


def either(manipulated: Floats, synthesised: Floats) -> Floats:
    """Return the log-odds (N,) that at least one of two things is true, taken as independent.

    NaN where either is no number: half an answer is none.

    Args:
        manipulated: (N,) log-odds of the frame encoder, as they are.
        synthesised: (N,) log-odds of the second network, calibrated to how rare such stills are;
            images are calibrated by what both say together.
    """
    one, other = (np.asarray(odds, np.float64) for odds in (manipulated, synthesised))
    known = np.isfinite(one) & np.isfinite(other)
    one, other = (np.where(known, odds, 0.0) for odds in (one, other))
    found = np.logaddexp(np.logaddexp(one, other), one + other)
    return np.where(known, found, np.nan)
