from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import skimage.data

from dfd_batch.checkpoint import Preprocessing
from dfd_batch.faces.cropper import FaceCropper
from dfd_batch.settings import Faces
from tests.faces.face_studio import Picture, Studio


@pytest.fixture(scope="session")
def eileen() -> Picture:
    return np.ascontiguousarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def grace() -> Picture:
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


@pytest.fixture(scope="session")
def cropper() -> FaceCropper:
    return FaceCropper(Faces(), Preprocessing())


@pytest.fixture(scope="session")
def studio(cropper: FaceCropper) -> Studio:
    return Studio(cropper)
