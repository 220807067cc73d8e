"""OpenForensics (Le et al., ICCV 2021): pictures with many faces, labelled face by face."""

from __future__ import annotations

from collections import defaultdict

from dfd_batch.training.sources.sample import Contents, Found, LabelledBox, Sample, examples
from dfd_batch.training.sources.tree import Tree, folder_of

ANNOTATIONS = r"(Train|Val|Test-Dev|Test-Challenge)_poly\.json"
_SPLITS = {"Train": "train", "Val": "val", "Test-Dev": "test", "Test-Challenge": "test"}


def read(tree: Tree) -> Contents:
    """Return OpenForensics; category 0 is real, 1 fake, and a picture with a fake face is fake."""
    samples: list[Sample] = []
    lines = []
    for match, name, _ in tree.find(ANNOTATIONS):
        told, part = tree.json(name), match[1]
        try:
            boxes = defaultdict(list)
            for face in told["annotations"]:
                label = int(face["category_id"])
                if label not in (0, 1):
                    raise ValueError(f"category_id {label} is neither 0 (real) nor 1 (fake)")
                x, y, w, h = map(float, face["bbox"])
                boxes[face["image_id"]].append(LabelledBox((x, y, x + w, y + h), label))
            files = {image["id"]: str(image["file_name"]) for image in told["images"]}
        except (KeyError, TypeError, ValueError) as error:
            raise tree.malformed(name, f"it is not in COCO's form ({error!r})") from None
        missing = []
        for image, file in files.items():
            uri = _uri(tree, folder_of(name), part, file)
            if uri is None:
                missing.append(file)
                continue
            faces = tuple(boxes[image])
            label = max((face.label for face in faces), default=0)
            group = file.rpartition("/")[2]
            method = "OpenForensics" if label else ""
            samples.append(Sample(uri, label, group, method, _SPLITS[part], faces=faces))
        found = len(files) - len(missing)
        lines.append(Found(part, len(files), found, len(missing), examples(missing)))
    return Contents(tuple(samples), tuple(lines))


def _uri(tree: Tree, folder: str, part: str, file: str) -> str | None:
    """Return a picture's URI; its name comes with the folders before it or without."""
    last = file.rpartition("/")[2]
    for name in (file, f"Images/{part}/{last}", f"{part}/{last}"):
        uri = tree.uris.get(folder + name)
        if uri is not None:
            return uri
    return None
