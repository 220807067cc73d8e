"""From the clips of one object to its tracked face crops, or to why it has none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dfd_batch.checkpoint import Preprocessing
from dfd_batch.faces import track as tracking
from dfd_batch.faces.crop import Square, cut, face_square, inside
from dfd_batch.faces.detect import Detection, Detector, Look, closer, dear_looks
from dfd_batch.faces.keep import Kept, Run
from dfd_batch.faces.people import People, look_of
from dfd_batch.faces.quality import Rejected, brightness, fault, passes
from dfd_batch.faces.turn import turned, unturned, unturned_boxes
from dfd_batch.schema import Clip, FaceCrops, Probe
from dfd_batch.settings import Faces

SEEN_ONCE = 0.97
"""Confidence that a face needs which only one of a shot's looks shows."""
SURELY_UPRIGHT = 0.998
"""Below it, a face may be one that lies on its side or head: then the picture is turned too."""


class FaceCropper:
    """MTCNN and the geometry of one checkpoint; loaded once per process.

    Args:
        faces: How faces are found and which are judged.
        preprocessing: Of the checkpoint.
        confined: The squares of stills that are cut to a face lie inside of them (`crop.inside`).
    """

    def __init__(
        self, faces: Faces, preprocessing: Preprocessing, *, confined: bool = True
    ) -> None:
        self._faces = faces
        self._preprocessing = preprocessing
        self._confined = confined
        self._detector = Detector()

    def start(self, probe: Probe) -> ObjectFaces:
        """Return what collects the faces of one object."""
        confined = self._confined and probe.media == "image"
        return ObjectFaces(self._detector, self._faces, self._preprocessing, confined)


@dataclass(frozen=True, eq=False)
class _Shot:
    """The tracks of one shot and the look that found them."""

    look: Look
    tracks: list[tracking.Track]


@dataclass(frozen=True, eq=False)
class _Cropped:
    """The crops of one path that can be judged; places in displayed pixels."""

    frames: NDArray[np.intp]  # (T,) indices into the clip
    crops: NDArray[np.uint8]  # (T, S, S, 3)
    boxes: NDArray[np.float32]  # (T, 4)
    landmarks: NDArray[np.float32]  # (T, 5, 2)
    square: Square  # the median, in displayed pixels of the turned picture


class ObjectFaces:
    """The faces of one object, clip by clip; keeps crops, never frames."""

    def __init__(
        self,
        detector: Detector,
        faces: Faces,
        preprocessing: Preprocessing,
        confined: bool,
    ) -> None:
        self._detector = detector
        self._faces = faces
        self._preprocessing = preprocessing
        self._confined = confined
        self._cheap = Look(
            faces.detect_long_side, faces.min_detect_px, confidence=faces.detector_confidence
        )
        self._adopted: Look | None = None  # a dear look that found this object's faces
        self._faceless = 0
        self._turns_tried = False
        self._people = People()
        self._kept = Kept(faces.max_crops)
        self._rejected = Rejected()
        self._n_frames = 0
        self._luma = 0.0

    def add(self, clip: Clip) -> None:
        """Detect, track and crop the faces of one clip; nothing of its frames is kept."""
        if not len(clip.frames) or not self._kept.would_keep(clip.index):
            return
        self._n_frames += len(clip.frames)
        middle = clip.frames[len(clip.frames) // 2]
        luma = brightness(middle[::8, ::8])
        self._luma = max(self._luma, luma)
        shots = [self._shot(clip, frames) for frames in tracking.shots(clip.frames)]
        if any(shot.tracks for shot in shots):
            shots = self._upright(clip, shots)
        else:
            self._faceless += 1
            # 1st, 2nd, 4th, 8th … clip without a face: a dear look costs about a second.
            if not len(self._kept) and self._faceless & (self._faceless - 1) == 0:
                shots = self._dear(clip, luma)
        taken: set[int] = set()
        for shot in shots:
            self._keep(clip, shot, taken)

    def finish(self) -> FaceCrops:
        """Return the object's crops by (clip, track, time).

        Raises:
            MediaFault: no_face, or face_too_small, too_dark, too_blurry where faces were found
                but none of them is good enough.
        """
        if not len(self._kept):
            raise fault(self._rejected, self._faces, self._n_frames, self._luma)
        return self._kept.result()

    def _shot(self, clip: Clip, shot: range) -> _Shot:
        """Return a shot's tracks by the look that found this object's faces, else the cheap one."""
        if self._adopted is not None:
            found = self._tracked(clip, shot, self._adopted)
            if found.tracks:
                return found
        return self._tracked(clip, shot, self._cheap)

    def _tracked(self, clip: Clip, shot: range, look: Look) -> _Shot:
        """Return the tracks that one look finds in a shot."""
        frames = {i: turned(clip.frames[i], look.turns) for i in tracking.anchors(shot)}
        middle, *ends = frames
        found = {middle: self._detector.look([frames[middle]], look)[0]}
        nearer = look
        if found[middle]:
            # The rest of the shot needs only to follow the faces that the whole look found.
            smallest = min(face.height for face in found[middle])
            nearer = closer(look, smallest, max(frames[middle].shape[:2]))
        seen = self._detector.look([frames[i] for i in ends], nearer)
        found.update(zip(ends, seen, strict=True))

        def one(i: int) -> list[Detection]:
            return self._detector.look([turned(clip.frames[i], look.turns)], nearer)[0]

        tracking.settle(found, one)
        tracks = [t for t in tracking.link(found) if self._credible(t, len(found), look)]
        tracks.sort(key=lambda t: -t.height)
        return _Shot(look, tracks[: self._faces.max_faces_per_frame])

    def _credible(self, track: tracking.Track, n_looks: int, look: Look) -> bool:
        """Whether a track is a face: surely seen, or seen more than once."""
        once = n_looks > 1 and len(track.frames) == 1
        needed = max(look.confidence, SEEN_ONCE) if once else look.confidence
        return track.confidence >= needed

    def _upright(self, clip: Clip, shots: list[_Shot]) -> list[_Shot]:
        """Return the shots, found again in turned pictures where those show the faces better.

        MTCNN finds some upside-down faces as badly placed upright ones. Once per object.
        """
        face = max((t for s in shots for t in s.tracks), key=lambda t: t.confidence)
        if self._turns_tried or self._adopted or face.confidence >= SURELY_UPRIGHT:
            self._turns_tried = True
            return shots
        self._turns_tried = True
        frame = clip.frames[face.frames[0]]
        nearer = closer(self._cheap, face.height, max(frame.shape[:2]))
        better, confidence = None, face.confidence + 0.002
        for turns in (1, 2, 3):
            (faces,) = self._detector.look([turned(frame, turns)], nearer)
            best = max((other.confidence for other in faces), default=0.0)
            if best > confidence:
                better, confidence = replace(self._cheap, turns=turns), best
        if better is None:
            return shots
        again = [self._tracked(clip, frames, better) for frames in tracking.shots(clip.frames)]
        if not any(s.tracks for s in again):
            return shots
        self._adopted = better
        return again

    def _dear(self, clip: Clip, luma: float) -> list[_Shot]:
        """Return the shots of a clip by the dear look that shows its faces best, if any does.

        The look is adopted for the rest of the object.
        """
        shots = tracking.shots(clip.frames)
        shot = max(shots, key=len)
        middle = clip.frames[tracking.anchors(shot)[0]]
        best, best_confidence = None, 0.0
        for look in dear_looks(self._cheap, luma):
            if best is not None and (look.evened or (look.turns and not best.turns)):
                break  # found upright and as it is; no need to turn or change the picture
            (faces,) = self._detector.look([turned(middle, look.turns)], look)
            confidence = max((face.confidence for face in faces), default=0.0)
            once = len(clip.frames) == 1 and look.turns
            needed = max(look.confidence, SEEN_ONCE) if once else look.confidence
            if confidence >= needed and confidence > best_confidence:
                best, best_confidence = look, confidence
        if best is None:
            return []
        found = [self._tracked(clip, frames, best) for frames in shots]
        if len(clip.frames) > 1:
            twice = [t for s in found for t in s.tracks if len(t.frames) > 1]
            found = [replace(s, tracks=[t for t in s.tracks if t in twice]) for s in found]
        if any(s.tracks for s in found):
            self._adopted = best
        return found

    def _keep(self, clip: Clip, shot: _Shot, taken: set[int]) -> None:
        """Crop the tracks of a shot and keep what can be judged."""
        cropped = [self._crop(clip, tracking.path(track), shot.look) for track in shot.tracks]
        good = [(rank, run) for rank, run in enumerate(cropped) if len(run.frames)]
        # The first, a middle and the last crop tell what somebody looks like.
        looks = [look_of(run.crops[:: max(1, len(run.crops) // 2)], run.square) for _, run in good]
        numbers = self._people.number(looks, taken)
        for (rank, run), number in zip(good, numbers, strict=True):
            self._kept.add(
                Run(
                    clip=clip.index,
                    track=number,
                    rank=rank,
                    sure=not shot.look.thorough,
                    crops=run.crops,
                    times_s=clip.times_s[run.frames].astype(np.float64),
                    boxes=run.boxes,
                    landmarks=run.landmarks,
                )
            )

    def _crop(self, clip: Clip, path: tracking.Path, look: Look) -> _Cropped:
        """Return the crops of a path that can be judged, with their places as displayed."""
        margin, size = self._preprocessing.margin, self._preprocessing.crop_size
        squares = [
            face_square(points, margin, face)
            for points, face in zip(path.landmarks, path.sizes, strict=True)
        ]
        if self._confined:
            height, width = turned(clip.frames[0], look.turns).shape[:2]
            squares = [inside(square, width, height) for square in squares]
        heights = (path.boxes[:, 3] - path.boxes[:, 1]) / clip.scale
        crops, good = [], []
        for i, frame in enumerate(path.frames):
            crop = cut(turned(clip.frames[frame], look.turns), squares[i], size)
            if passes(crop, float(heights[i]), self._faces, self._rejected):
                crops.append(crop)
                good.append(i)
        height, width = clip.frames.shape[1:3]
        x, y, side = np.median(np.array(squares), axis=0) / clip.scale
        return _Cropped(
            frames=path.frames[good],
            crops=np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8),
            boxes=unturned_boxes(path.boxes[good], look.turns, height, width) / clip.scale,
            landmarks=unturned(path.landmarks[good], look.turns, height, width) / clip.scale,
            square=Square(float(x), float(y), float(side)),
        )
