"""A still image as a clip of one frame: upright, RGB, 8 bits, of bounded size."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageFile, ImageOps

from dfd_batch.decode.sniff import Sniffed
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Probe
from dfd_batch.settings import Limits

IMAGE_LONG_SIDE = 4096
"""Larger images are reduced: a face of interest keeps hundreds of pixels, memory stays small."""
BACKGROUND = (128, 128, 128)  # mid-grey under transparency: adds no edge brighter than the face
ROTATIONS = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}  # EXIF orientation: degrees clockwise
SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")

Image.MAX_IMAGE_PIXELS = None  # the limit of the settings is checked instead, before any decoding
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def read_image(path: str, sniffed: Sniffed, limits: Limits) -> tuple[Probe, Clip, bool]:
    """Return what an image says of itself, its one frame, and whether its end is missing.

    Args:
        path: A local file.
        sniffed: What it is by content; no other plug-in may open it.
        limits: `max_pixels` is held against the header, before decoding.

    Raises:
        MediaFault: `too_large` or `unreadable`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata
        image, truncated = _load(path, sniffed, limits)
        *display, orientation = image.info["_display"]
        frame = _rgb8(image)
    probe = Probe(
        media="image",
        container=sniffed.container,
        codec=sniffed.container,
        duration_s=None,
        fps=None,
        width=display[0],
        height=display[1],
        rotation=ROTATIONS.get(orientation, 0),
    )
    scale = max(frame.shape[:2]) / max(display)
    return probe, Clip(0, frame[None], np.zeros(1), scale), truncated


def _load(path: str, sniffed: Sniffed, limits: Limits) -> tuple[Image.Image, bool]:
    """Return the decoded image, tolerating a missing end on the second try."""
    for tolerant in (False, True):
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
        try:
            image = _open(path, sniffed, limits)
            if tolerant and _is_blank(image):
                break
            return image, tolerant
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError) as bad:
            reason = str(bad)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    raise MediaFault(
        Outcome.UNREADABLE,
        "damaged_image",
        f"the {sniffed.container} image is damaged beyond use ({_short(reason)}).",
    )


def _open(path: str, sniffed: Sniffed, limits: Limits) -> Image.Image:
    """Return the first picture, upright and reduced; its full size and orientation in `info`."""
    with Image.open(path, formats=[sniffed.opener]) as image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise MediaFault(
                Outcome.TOO_LARGE,
                "too_many_pixels",
                f"the image has {width} × {height} pixels, more than limits.max_pixels = "
                f"{limits.max_pixels}.",
            )
        orientation = _orientation(image)
        image.draft("RGB", (IMAGE_LONG_SIDE, IMAGE_LONG_SIDE))  # JPEG: reduced while decoding
        image.load()
        # resampling needs true colours: a palette's or 16 bits are resolved by _rgb8 instead
        if image.mode in ("L", "RGB", "RGBA", "CMYK", "YCbCr"):
            image.thumbnail((IMAGE_LONG_SIDE, IMAGE_LONG_SIDE), Image.Resampling.BOX)
        upright: Image.Image = image
        with contextlib.suppress(Exception):  # broken EXIF says nothing about the picture
            upright = ImageOps.exif_transpose(image)
        # TIFF tells its upright size when it is opened, the others that of what is stored
        swapped = orientation >= 5 and image.format != "TIFF"
        size = (height, width) if swapped else (width, height)
        upright.info["_display"] = (*size, orientation)
        return upright if upright is not image else image.copy()


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):
        value = image.getexif().get(0x0112, 1)
        return value if value in range(1, 9) else 1
    return 1


def _is_blank(image: Image.Image) -> bool:
    """Return whether nothing was decoded: one colour all over."""
    return all(low == high for low, high in _extrema(image))


def _extrema(image: Image.Image) -> list[tuple[float, float]]:
    found = image.getextrema()
    return [found] if isinstance(found[0], int | float) else list(found)


def _rgb8(image: Image.Image) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB of an image of any mode, transparency laid on mid-grey."""
    if image.mode in SIXTEEN_BIT:
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        image = Image.fromarray(grey)
    elif image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float64)
        top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0
        top = 65535.0 if values.max() > 255 else top
        image = Image.fromarray(np.clip(values * (255 / top), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        image = Image.new("RGB", image.size, BACKGROUND)
        image.paste(layered, mask=layered.getchannel("A"))
    image = image.convert("RGB")
    image.thumbnail((IMAGE_LONG_SIDE, IMAGE_LONG_SIDE), Image.Resampling.BOX)
    return np.asarray(image)


def _short(reason: str) -> str:
    return reason.split(":", maxsplit=1)[0].split("'", maxsplit=1)[0].strip()[:80] or "no detail"
