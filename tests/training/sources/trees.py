"""Miniature data sets in exactly the layouts of the published ones; media are empty files."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np

from tests.media import numbered_frames, write_video


def files(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def faceforensics(root: Path) -> None:
    real, fake = "original_sequences/youtube", "manipulated_sequences"
    files(root, *(f"{real}/c23/videos/{i:03d}.mp4" for i in range(6)))
    files(root, f"{real}/c0/videos/000.mp4", f"{real}/c23/masks/000.mp4")
    files(root, f"{fake}/Deepfakes/c23/videos/000_001.mp4", f"{fake}/Deepfakes/masks/videos/0.mp4")
    files(
        root, f"{fake}/FaceSwap/c23/videos/003_002.mp4", f"{fake}/Face2Face/c23/videos/004_005.mp4"
    )
    files(
        root,
        f"{fake}/Deepfakes/raw/videos/000_001.mp4",
        f"{fake}/FaceShifter/c40/videos/009_008.mp4",
    )
    for split, pair in (
        ("train", ["000", "001"]),
        ("val", ["002", "003"]),
        ("test", ["004", "005"]),
    ):
        write_json(root / f"splits/{split}.json", [pair])


def deepfakedetection(root: Path) -> None:
    real, fake = "original_sequences/actors/c23/videos", "manipulated_sequences/DeepFakeDetection"
    files(root, f"{real}/01__exit_phone_room.mp4", f"{real}/02__meeting_serious.mp4")
    files(root, f"{fake}/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4")
    files(root, f"{fake}/c23/videos/03_02__meeting_serious__ABCDEFGH.mp4")
    files(root, f"{fake}/masks/videos/01_02__exit_phone_room__YVGY8LOK.mp4")


def celeb_df(root: Path) -> None:
    files(root, "Celeb-real/id0_0000.mp4", "Celeb-real/id1_0000.mp4", "Celeb-real/id1_0001.mp4")
    files(root, "Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id1_id0_0001.mp4")
    files(root, "YouTube-real/00000.mp4", "YouTube-real/00001.mp4")
    (root / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00001.mp4\n1 Celeb-real/id1_0001.mp4\n0 Celeb-synthesis/id1_id0_0001.mp4\n"
        "0 Celeb-synthesis/id5_id6_0001.mp4\n"
    )


def dfdc(root: Path) -> None:
    for part in (0, 7):
        folder = f"dfdc_train_part_{part:02d}"
        files(root, f"{folder}/r{part}.mp4", f"{folder}/f{part}.mp4")
        entries = {
            f"r{part}.mp4": {"label": "REAL", "split": "train"},
            f"f{part}.mp4": {"label": "FAKE", "split": "train", "original": f"r{part}.mp4"},
            f"gone{part}.mp4": {"label": "FAKE", "split": "train", "original": f"r{part}.mp4"},
        }
        write_json(root / folder / "metadata.json", entries)
    files(root, "test/aaa.mp4", "test/bbb.mp4")
    (root / "test/labels.csv").write_text("filename,label\naaa.mp4,1\nbbb.mp4,0\nccc.mp4,0\n")
    write_json(root / "test/metadata.json", {"aaa.mp4": {"augmentations": {}}})


def dfdc_preview(root: Path) -> None:
    fake, real = "method_A/643049/643049_A/643049_A_001.mp4", "original_videos/643049/643049_A.mp4"
    files(root, fake, real)
    entries = {
        fake: {"label": "fake", "set": "test", "target_id": 643049, "swapped_id": 1224068},
        real: {"label": "real", "set": "test"},
        "method_B/1/1_A/x.mp4": {"label": "fake", "set": "train"},
    }
    write_json(root / "dataset.json", entries)


def png(side: int = 64, grey: int = 99) -> bytes:
    return cv2.imencode(".png", np.full((side, side, 3), grey, np.uint8))[1].tobytes()


def wilddeepfake(root: Path) -> None:
    archives = {
        "real_train/1": ["real/0/3.png", "real/0/20.png", "real/1/5.png"],
        "fake_train/2": ["fake/0/1.png"],
        "fake_test/2": ["fake/7/1.png", "fake/7/2.png"],
    }
    for name, members in archives.items():
        path = root / f"{name}.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as archive:  # plain, whatever the name says
            for member in members:
                frame = int(member.rpartition("/")[2][:-4])
                blob = png(grey=frame)
                told = tarfile.TarInfo(f"./{name.rpartition('/')[2]}/{member}")
                told.size = len(blob)
                archive.addfile(told, io.BytesIO(blob))
    (root / "real_test").mkdir()
    (root / "real_test/9.tar.gz").write_bytes(b"not an archive")


def openforensics(root: Path) -> None:
    files(root, "Images/Train/aa.jpg", "Images/Train/bb.jpg", "Images/Test-Dev/cc.jpg")

    def part(names: list[str], faces: list[tuple[int, int]]) -> dict[str, object]:
        return {
            "categories": [{"id": 0, "name": "Real"}, {"id": 1, "name": "Fake"}],
            "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
            "annotations": [
                {"id": k, "image_id": image, "category_id": label, "bbox": [10, 20, 30, 40]}
                for k, (image, label) in enumerate(faces)
            ],
        }

    names = ["Images/Train/aa.jpg", "Images/Train/bb.jpg", "Images/Train/gone.jpg"]
    write_json(root / "Train_poly.json", part(names, [(0, 0), (0, 1), (1, 0)]))
    write_json(root / "Test-Dev_poly.json", part(["cc.jpg"], [(0, 1)]))


def celeba(root: Path) -> None:
    files(root, *(f"Img/img_align_celeba/{i:06d}.jpg" for i in (1, 2, 3)))
    anno = root / "Anno"
    anno.mkdir()
    (anno / "list_attr_celeba.txt").write_text(
        "4\nMale Young Smiling \n"
        + "".join(f"{i:06d}.jpg  {1 if i == 1 else -1} 1  -1\n" for i in (1, 2, 3, 4))
    )
    (anno / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 17\n000003.jpg 2880\n")
    (root / "Eval").mkdir()
    (root / "Eval/list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")


def lav_df(root: Path) -> None:
    files(root, "train/000001.mp4", "train/000002.mp4", "dev/000003.mp4", "test/000004.mp4")

    def entry(
        file: str, video: bool, audio: bool, original: str | None, periods: list[list[float]]
    ):
        return {
            "file": file,
            "n_fakes": len(periods),
            "fake_periods": periods,
            "original": original,
            "modify_video": video,
            "modify_audio": audio,
            "split": file.partition("/")[0],
        }

    write_json(
        root / "metadata.min.json",
        [
            entry("train/000001.mp4", False, False, None, []),
            entry("train/000002.mp4", True, True, "train/000001.mp4", [[1.0, 1.5], [3, 4.25]]),
            entry("dev/000003.mp4", False, True, "train/000001.mp4", [[1.0, 1.5]]),
            entry("test/000004.mp4", True, False, "test/000009.mp4", [[0.5, 1]]),
            entry("test/000009.mp4", False, False, None, []),
        ],
    )


def forgerynet(root: Path) -> None:
    folder = root / "Training/video/train_video_release/1"
    folder.mkdir(parents=True)
    for name in ("part.mp4", "whole.mp4", "real.mp4"):
        write_video(folder / name, numbered_frames(20), fps=20)
    (root / "Training/video_list.txt").write_text(
        "3 1/part.mp4 0 5 real 5 10 fake 15 5 real 1 2 7\n1 1/whole.mp4 0 20 fake 1 1 3\n"
        "1 1/real.mp4 0 20 real 0 0 0\n0 1/gone.mp4 0 0 0\n"
    )


def real_fake(root: Path) -> None:
    files(root, "train/Real/a.mp4", "train/Fake/a.mp4", "test/0_real/x/001.png")
    files(root, "test/1_fake/sora/clip_frame_0001.png", "test/1_fake/sora/clip_frame_0002.png")
    files(root, "train/Real/notes.txt", "cover.png")


def genuine(root: Path) -> None:
    files(root, "2024/a.mp4", "2024/b.jpg", "notes.txt", "c_frame12.png", "c_frame13.png")


TREES = {
    "faceforensics": faceforensics,
    "deepfakedetection": deepfakedetection,
    "celeb-df": celeb_df,
    "dfdc": dfdc,
    "dfdc-preview": dfdc_preview,
    "wilddeepfake": wilddeepfake,
    "openforensics": openforensics,
    "celeba": celeba,
    "lav-df": lav_df,
    "forgerynet": forgerynet,
    "real-fake": real_fake,
    "genuine": genuine,
}
