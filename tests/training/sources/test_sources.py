from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.training import sources
from dfd_batch.training.sources import LAYOUTS, LabelledBox, wilddeepfake
from dfd_batch.training.splits import assign
from tests.training.sources.trees import TREES, files, write_json


class Read:
    """A miniature data set as its adapter reads it; samples by the end of their URI."""

    def __init__(self, root: Path, layout: str) -> None:
        self.contents = sources.read(str(root), layout)
        self.uris = {
            sample.uri.removeprefix(f"{root}/"): sample for sample in self.contents.samples
        }
        self.lines = {line.what: line for line in self.contents.found}

    def __getitem__(self, end: str):
        found = [sample for uri, sample in self.uris.items() if uri.endswith(end)]
        assert len(found) == 1, f"{end}: {found}"
        return found[0]

    def labels(self) -> dict[int, int]:
        labels = [sample.label for sample in self.contents.samples]
        return {label: labels.count(label) for label in (0, 1)}


@pytest.fixture
def tree(tmp_path: Path):
    def made(layout: str) -> Read:
        TREES[layout](tmp_path)
        return Read(tmp_path, layout)

    return made


def test_every_layout_has_a_miniature() -> None:
    assert TREES.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("layout", [name for name in TREES if name != "genuine"])
@pytest.mark.parametrize("deeper", ["", "unpacked/here"])
def test_layouts_are_told_apart_however_deep_they_lie(tmp_path, layout, deeper) -> None:
    root = tmp_path / deeper
    root.mkdir(parents=True, exist_ok=True)
    TREES[layout](root)
    assert sources.detect(str(tmp_path)) == layout
    assert sources.read(str(tmp_path)).samples == sources.read(str(tmp_path), layout).samples


@pytest.mark.parametrize("layout", TREES)
def test_samples_name_files_that_are_there_and_carry_a_licence(tree, layout) -> None:
    for sample in tree(layout).contents.samples:
        assert Path(sample.uri.partition("#")[0]).is_file()
        assert sample.group
        assert sample.licence or layout in ("real-fake", "genuine")
        assert sample.label in (0, 1) and bool(sample.method) == bool(sample.label)


def test_genuine_is_never_guessed(tmp_path) -> None:
    TREES["genuine"](tmp_path)
    with pytest.raises(UsageError, match=r"Looked for faceforensics: .*celeb-df: .*--as genuine"):
        sources.detect(str(tmp_path))


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_a_root_without_files_is_a_usage_error(tmp_path, path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="give the data set's root folder"):
        sources.read(str(tmp_path / path), "genuine")


def test_a_wrong_layout_is_a_usage_error(tmp_path) -> None:
    TREES["celeba"](tmp_path)
    with pytest.raises(UsageError, match="holds no celeb-df: there is no Celeb-real"):
        sources.read(str(tmp_path), "celeb-df")
    with pytest.raises(UsageError, match="no layout 'ffpp'; known are faceforensics"):
        sources.read(str(tmp_path), "ffpp")


def test_faceforensics(tree) -> None:
    read = tree("faceforensics")
    assert read.labels() == {0: 7, 1: 5}
    fake = read["Deepfakes/c23/videos/000_001.mp4"]
    assert (fake.group, fake.links, fake.method, fake.split) == (
        "000",
        ("001",),
        "Deepfakes",
        "train",
    )
    assert fake.pair.endswith("youtube/c23/videos/000.mp4")
    assert read["003_002.mp4"].split == "val"  # the pair is listed the other way round
    assert read["youtube/c23/videos/005.mp4"].split == "test"
    raw = read["Deepfakes/raw/videos/000_001.mp4"]
    assert raw.attributes["compression"] == "raw"
    assert raw.pair.endswith("youtube/c0/videos/000.mp4")
    assert read["009_008.mp4"].split == "" and read["009_008.mp4"].pair == ""
    assert (read.lines["genuine c23"].expected, read.lines["genuine c23"].found) == (1000, 6)
    assert "009_008.mp4" in read.lines["FaceShifter c40"].notes
    counted = {what: (line.found, line.missing) for what, line in read.lines.items()}
    assert counted["genuine c23"] == (6, 0) and counted["genuine raw"] == (1, 5)
    # Each of the three pairs that the lists name stands for two fakes of every method.
    assert counted["Deepfakes c23"] == (1, 5)
    assert counted["NeuralTextures c23"] == counted["NeuralTextures raw"] == (0, 6)
    assert counted["genuine c40"] == (0, 6) and counted["FaceShifter c40"] == (1, 6)
    assert read.lines["NeuralTextures c23"].expected == 1000
    assert (
        read.lines["pairs of train.json"].expected,
        read.lines["pairs of train.json"].found,
    ) == (360, 1)


def test_deepfakedetection(tree) -> None:
    read = tree("deepfakedetection")
    assert read.labels() == {0: 2, 1: 2}
    fake = read["01_02__exit_phone_room__YVGY8LOK.mp4"]
    assert (fake.group, fake.links, fake.split) == ("actor 01", ("actor 02",), "")
    assert fake.pair.endswith("01__exit_phone_room.mp4")
    assert read["ABCDEFGH.mp4"].pair == ""
    assert (read.lines["genuine c23"].expected, read.lines["genuine c23"].found) == (363, 2)


def test_celeb_df(tree) -> None:
    read = tree("celeb-df")
    assert read.labels() == {0: 5, 1: 2}
    fake = read["id1_id0_0001.mp4"]
    assert (fake.label, fake.group, fake.links, fake.split) == (1, "id1", ("id0",), "test")
    assert fake.pair.endswith("Celeb-real/id1_0001.mp4")
    assert read["YouTube-real/00001.mp4"].label == 0  # the list says 1: real
    assert read["YouTube-real/00001.mp4"].split == "test"
    assert read["Celeb-real/id0_0000.mp4"].split == "train"
    line = read.lines["test videos"]
    assert (line.expected, line.found, line.missing) == (4, 3, 1)
    assert "id5_id6_0001" in line.notes


def test_celeb_df_with_the_labels_the_other_way_round_is_refused(tmp_path) -> None:
    TREES["celeb-df"](tmp_path)
    path = tmp_path / "List_of_testing_videos.txt"
    path.write_text("0 Celeb-real/id1_0001.mp4\n")
    with pytest.raises(UsageError, match=rf"{path}.*line 1.*\(1 = real\)"):
        sources.read(str(tmp_path))


def test_dfdc(tree) -> None:
    read = tree("dfdc")
    assert read.labels() == {0: 3, 1: 3}
    fake = read["f7.mp4"]
    assert (fake.label, fake.group, fake.split) == (1, "r7.mp4", "train")
    assert fake.pair.endswith("dfdc_train_part_07/r7.mp4")
    assert read["f0.mp4"].split == "val"
    assert (read["aaa.mp4"].label, read["aaa.mp4"].split) == (1, "test")
    line = read.lines["dfdc_train_part_07"]
    assert (line.expected, line.found, line.missing, line.notes) == (3, 2, 1, "gone7.mp4")
    assert read.lines["test videos"].missing == 1


def test_dfdc_preview(tree) -> None:
    read = tree("dfdc-preview")
    fake, real = read["643049_A_001.mp4"], read["643049_A.mp4"]
    assert (fake.label, fake.method, fake.split, fake.links) == (
        1,
        "method_A",
        "test",
        ("1224068",),
    )
    assert (real.label, real.method, real.group) == (0, "", fake.group)
    line = read.lines["videos of dataset.json"]
    assert (line.expected, line.found, line.missing) == (3, 2, 1)


def test_wilddeepfake(tree) -> None:
    read = tree("wilddeepfake")
    assert read.labels() == {0: 2, 1: 2}
    sequence = read["real_train/1.tar.gz#1/real/0"]
    assert (sequence.split, sequence.group, sequence.cropped) == ("train", "real 1", True)
    assert (read["#2/fake/7"].split, read["#2/fake/7"].label) == ("test", 1)
    line = read.lines["sequences"]
    assert (line.expected, line.found, line.missing, line.notes) == (
        7314,
        4,
        1,
        "real_test/9.tar.gz",
    )
    assert read.lines["numbers in both parts"].found == 1
    frames = list(wilddeepfake.frames(sequence.uri, 10))
    assert [number for number, _ in frames] == [3, 20]
    assert [int(picture[0, 0, 0]) for _, picture in frames] == [3, 20]
    assert frames[0][1].shape == (64, 64, 3)


def test_openforensics(tree) -> None:
    read = tree("openforensics")
    mixed = read["aa.jpg"]
    assert mixed.label == 1 and mixed.split == "train"
    assert mixed.faces[0] == LabelledBox((10, 20, 40, 60), 0)  # category 0 counts
    assert [face.label for face in mixed.faces] == [0, 1]
    assert read["bb.jpg"].label == 0
    assert (read["cc.jpg"].label, read["cc.jpg"].split) == (1, "test")  # named without its folder
    line = read.lines["Train"]
    assert (line.expected, line.found, line.missing) == (3, 2, 1)


def test_celeba(tree) -> None:
    read = tree("celeba")
    assert read.labels() == {0: 3, 1: 0}
    assert read["000001.jpg"].group == read["000003.jpg"].group == "person 2880"
    assert read["000001.jpg"].attributes == {"Male": "1", "Young": "1", "Smiling": "-1"}
    assert [read[f"00000{i}.jpg"].split for i in (1, 2, 3)] == ["train", "val", "test"]
    line = read.lines["img_align_celeba"]
    assert (line.expected, line.found, line.missing, line.notes) == (4, 3, 1, "000004")


def test_celeba_from_its_csv_twins_and_without_lists(tmp_path) -> None:
    files(tmp_path, "img_align_celeba/img_align_celeba/000001.jpg")
    assert Read(tmp_path, "celeba")["000001.jpg"].group == "000001"
    (tmp_path / "list_attr_celeba.csv").write_text("image_id,Male,Young\n000001.jpg,-1,1\n")
    (tmp_path / "list_eval_partition.csv").write_text("image_id,partition\n000001.jpg,2\n")
    sample = Read(tmp_path, "celeba")["000001.jpg"]
    assert sample.attributes == {"Male": "-1", "Young": "1"} and sample.split == "test"


def test_lav_df(tree) -> None:
    read = tree("lav-df")
    assert read.labels() == {0: 1, 1: 2}  # changed in sound alone: neither genuine nor fake here
    fake = read["train/000002.mp4"]
    assert fake.segments == ((1.0, 1.5), (3.0, 4.25))
    assert [fake.label_at(t) for t in (0.9, 1.0, 1.49, 1.5, 4)] == [0, 1, 1, 0, 1]
    assert fake.group == read["train/000001.mp4"].group and fake.pair.endswith("000001.mp4")
    assert read.lines["changed in sound alone"].found == 1
    line = read.lines["videos"]
    assert (line.expected, line.found, line.missing) == (4, 3, 1)


def test_forgerynet(tree) -> None:
    read = tree("forgerynet")
    part = read["part.mp4"]
    assert (part.label, part.split) == (1, "train")
    assert part.segments == ((0.25, 0.75),)  # frames 5 to 14 at 20 frames per second
    assert read["whole.mp4"].segments == ((0.0, 1.0),)
    assert read["real.mp4"].label == 0 and not read["real.mp4"].segments
    line = read.lines["Training/video_list.txt"]
    assert (line.expected, line.found, line.missing) == (4, 3, 1)


def test_real_fake(tree) -> None:
    read = tree("real-fake")
    assert read.labels() == {0: 2, 1: 3}
    real, fake = read["train/Real/a.mp4"], read["train/Fake/a.mp4"]
    assert real.group == fake.group and real.split == fake.split == "train"
    assert read["clip_frame_0001.png"].group == read["clip_frame_0002.png"].group
    assert (read["clip_frame_0001.png"].method, read["clip_frame_0001.png"].split) == (
        "sora",
        "test",
    )
    assert read["x/001.png"].label == 0
    assert sum(line.found for what, line in read.lines.items() if what.startswith("files")) == 2


def test_genuine(tree) -> None:
    read = tree("genuine")
    assert read.labels() == {0: 4, 1: 0}
    assert read["c_frame12.png"].group == read["c_frame13.png"].group != read["b.jpg"].group


FRAMES = {
    # frames in a folder of their video, in one folder under several names; pictures of one folder
    "real/vid1/0001.png": "vid1",
    "real/vid1/0002.png": "vid1",
    "fake/FaceSwap/vid1/0001.png": "vid1",
    "real/a_0001.jpg": "a",
    "real/a_0002.jpg": "a",
    "real/b-0001.jpg": "b",
    "real/b-0002.jpg": "b",
    "fake/Deepfakes/a_0001.jpg": "a",
    "real/000.mp4": "000",
    "real/001.mp4": "001",
    "fake/Deepfakes/000.mp4": "000",
    "fake/Deepfakes/000_001.mp4": "000",
    "real/camera/IMG_0001.jpg": "camera",
    "real/camera/DSC_0002.jpg": "camera",
    "real/0007.png": "0007",
    "real/0008.png": "0008",
}


def test_frames_of_one_video_and_fakes_of_all_methods_belong_together(tmp_path) -> None:
    for name in FRAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = sources.read(str(tmp_path), "real-fake")
    groups = {s.uri.removeprefix(f"{tmp_path}/"): s.group for s in found.samples}
    assert groups == FRAMES
    assert "12 pictures, 6 groups" in dict(found.notes)["groups"]


def grouped(root: Path, names: list[str], layout: str = "real-fake") -> dict[str, str]:
    files(root, *names)
    found = sources.read(str(root), layout).samples
    return {s.uri.removeprefix(f"{root}/"): s.group for s in found}


def test_frames_of_the_only_video_in_a_folder_are_one_group(tmp_path) -> None:
    names = [f"{label}/interview_{i:04d}.png" for label in ("real", "fake") for i in range(20)]
    assert set(grouped(tmp_path, names).values()) == {"interview"}


@pytest.mark.parametrize("layout", ["real-fake", "genuine"])
def test_a_folder_of_its_own_is_one_group_whatever_its_pictures_are_called(
    tmp_path, layout
) -> None:
    names = ["a_1.jpg", "b_2.jpg", "IMG_0003.jpg", "4.png", "holiday.webp", "frames/5.png"]
    top = "real/" if layout == "real-fake" else ""
    given = [f"{top}{who}/{name}" for who in ("alice", "video7") for name in names]
    groups = grouped(tmp_path, [*given, "fake/other.mp4"] if top else given, layout)
    assert {groups[name] for name in given[:6]} == {"alice"}
    assert {groups[name] for name in given[6:]} == {"video7"}


CAMERAS = ("IMG_", "img", "DSC_", "DSCN", "DSCF", "P", "PXL_20240501_", "VID_", "20240501_")
CAMERAS += ("IMG-20240501-WA", "WhatsApp Image 2024-05-01 at 10.11.")
OTHERS = ("", "photo-", "picture", "face_", "real_", "seed")


@pytest.mark.parametrize("name", [*(f"{n}{{}}" for n in CAMERAS + OTHERS), "image ({})"])
def test_names_that_cameras_and_collections_give_tell_nothing(tmp_path, name) -> None:
    names = [f"{name.format(f'{i:04d}')}.jpg" for i in range(10, 30)]
    assert len(set(grouped(tmp_path, names, "genuine").values())) == 20


def test_a_number_before_the_running_one_tells_media_apart(tmp_path) -> None:
    given = {"000_0001.png": "000", "000_0002.png": "000", "001_0001.png": "001"}
    given |= {"face3_01.png": "face3", "IMG_0001.jpg": "IMG_0001", "IMG_0001 (2).jpg": "IMG_0001"}
    assert grouped(tmp_path, list(given), "genuine") == given


def test_folders_of_splits_and_of_everything_are_no_group(tmp_path) -> None:
    names = [
        f"real/{f}/IMG_{i}.jpg" for i, f in enumerate(("train", "test", "images", "val/faces"))
    ]
    groups = grouped(tmp_path, [*names, "fake/images/IMG_9.jpg"])
    assert [groups[name] for name in names] == ["IMG_0", "IMG_1", "IMG_2", "IMG_3"]
    found = {s.label: s for s in sources.read(str(tmp_path)).samples}
    assert found[1].method == "fake"


def test_a_fakes_folder_is_a_method_unless_its_like_name_genuine_media(tmp_path) -> None:
    given = {
        "real/alice/1.jpg": "alice",
        "fake/FaceSwap/alice/x.jpg": "alice",
        "fake/FaceSwap/carol/IMG_1.jpg": "FaceSwap/carol",
        "fake/FaceSwap/carol/DSC_1.jpg": "FaceSwap/carol",
        "fake/sora/IMG_1.jpg": "sora/IMG_1",
        "fake/sora/IMG_2.jpg": "sora/IMG_2",
    }
    assert grouped(tmp_path, list(given)) == given


def test_fakes_named_target_source_belong_to_both(tmp_path) -> None:
    real = [f"real/{i:03d}.mp4" for i in range(100)]
    fake = [f"fake/{i:03d}_{i ^ 1:03d}.mp4" for i in range(100)]
    files(tmp_path, *real, *fake)
    found = sources.read(str(tmp_path))
    assert not found.notes
    placed, n_left_out = assign(found.samples)
    assert n_left_out == 0
    split = {s.group: s.split for s in placed if not s.label}
    fakes = [s for s in placed if s.label]
    assert {s.split for s in fakes} == {"train", "val"}
    for sample in fakes:
        target, source = Path(sample.uri).stem.split("_")
        assert (sample.group, sample.links) == (target, (source,))
        assert sample.pair == f"{tmp_path}/real/{target}.mp4"
        assert sample.split == split[target] == split[source]


def origins(root: Path, names: list[str]) -> dict[str, tuple[str, tuple[str, ...], str]]:
    files(root, *names)
    short = {str(root / name): name for name in names}
    found = sources.read(str(root)).samples
    return {short[s.uri]: (s.group, s.links, short.get(s.pair, "")) for s in found if s.label}


def test_fakes_of_two_persons_keep_both_together(tmp_path) -> None:
    real = [f"real/id{i}_{k:04d}.mp4" for i in range(3) for k in range(3)]
    told = origins(tmp_path, [*real, "fake/id0_id1_0002.mp4"])
    assert told == {"fake/id0_id1_0002.mp4": ("id0", ("id1",), "real/id0_0002.mp4")}
    groups = {s.uri: s.group for s in sources.read(str(tmp_path)).samples}
    named = [groups[str(tmp_path / name)] for name in real]
    assert named == ["id0"] * 3 + ["id1"] * 3 + ["id2_0000", "id2_0001", "id2_0002"]


def test_a_fakes_name_is_read_as_the_genuine_ones_are(tmp_path) -> None:
    given = {
        # words, in a folder of the method
        "fake/swap/alice-bob.mp4": ("alice", ("bob",), "real/alice.mp4"),
        "fake/swap/alice_v2.mp4": ("alice", (), "real/alice.mp4"),
        "fake/swap/carol_bob.mp4": ("swap/carol_bob", ("bob",), ""),
        # frames beside the same frame, in folders and out of them
        "fake/000_001_0012.png": ("000", ("001",), "real/000_0012.png"),
        "fake/dave_erin/0003.png": ("dave", ("erin",), "real/dave/0003.png"),
        # a number that counts generated ones names nobody
        "fake/sora_v_7.mp4": ("sora_v_7", (), ""),
        "fake/sora_0012.mp4": ("sora_0012", (), ""),
    }
    real = ["alice.mp4", "bob.mp4", "000_0011.png", "000_0012.png", "001_0012.png", "7.mp4"]
    real += ["0012.mp4", "dave/0002.png", "dave/0003.png", "erin/0003.png"]
    assert origins(tmp_path, [*(f"real/{name}" for name in real), *given]) == given


def test_a_fake_is_paired_within_its_own_split_alone(tmp_path) -> None:
    real = ["train/real/0001.jpg", "test/real/0001.jpg", "train/real/0002.jpg"]
    told = origins(
        tmp_path, [*real, "train/fake/0001.jpg", "test/fake/0001.jpg", "test/fake/0002.jpg"]
    )
    assert [pair for _, _, pair in told.values()] == [
        {"train/fake/0001.jpg": real[0], "test/fake/0001.jpg": real[1], "test/fake/0002.jpg": ""}[
            name
        ]
        for name in told
    ]


def test_the_first_parts_of_dfdc_alone_are_divided_anew(tmp_path) -> None:
    part = tmp_path / "dfdc_train_part_0"
    part.mkdir()
    told = {f"{i:03d}.mp4": {"label": "REAL"} for i in range(40)}
    (part / "metadata.json").write_text(json.dumps(told))
    for name in told:
        (part / name).touch()
    placed, _ = assign(sources.read(str(tmp_path)).samples)
    assert {sample.split for sample in placed} == {"train", "val"}


def test_celeb_fakes_without_their_source_video_keep_apart_from_the_test(tmp_path) -> None:
    for name in ("id0_id1_0000", "id0_id2_0000", "id0_id2_0001"):
        (tmp_path / "Celeb-synthesis").mkdir(exist_ok=True)
        (tmp_path / "Celeb-synthesis" / f"{name}.mp4").touch()
    listed = "0 Celeb-synthesis/id0_id1_0000.mp4\n"
    (tmp_path / "List_of_testing_videos.txt").write_text(listed)
    placed, n_left_out = assign(sources.read(str(tmp_path), "celeb-df").samples)
    assert n_left_out == 1
    assert {Path(s.uri).stem for s in placed} == {"id0_id1_0000", "id0_id2_0001"}


@pytest.mark.parametrize("layout", TREES)
def test_known_sets_say_that_their_fakes_were_swapped(tree, layout) -> None:
    known = layout not in ("real-fake", "genuine")
    assert all(s.swapped == (known and s.label == 1) for s in tree(layout).contents.samples)


def test_an_s3_prefix_reads_as_a_folder_does(tmp_path, bucket) -> None:
    import boto3

    TREES["celeb-df"](tmp_path)
    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        client.upload_file(str(path), name, f"sets/{path.relative_to(tmp_path)}")
    there = sources.read(f"{bucket}/sets", None, Storage())
    here = sources.read(str(tmp_path))
    ours = {(s.uri.removeprefix(f"{tmp_path}/"), s.label, s.group, s.split) for s in here.samples}
    theirs = {
        (s.uri.removeprefix(f"{bucket}/sets/"), s.label, s.group, s.split) for s in there.samples
    }
    assert ours == theirs and there.found == here.found


BROKEN = {
    "faceforensics": ("splits/train.json", '{"a": 1}'),
    "dfdc": ("dfdc_train_part_07/metadata.json", '{"a.mp4": {"label": "MAYBE"}}'),
    "dfdc-preview": ("dataset.json", "[1]"),
    "openforensics": (
        "Train_poly.json",
        '{"annotations": [{"category_id": 2, "bbox": [0,0,1,1]}]}',
    ),
    "celeba": ("Anno/identity_CelebA.txt", "000001.jpg 1 2 3\n"),
    "lav-df": ("metadata.min.json", '[{"file": "train/000001.mp4"}]'),
    "forgerynet": ("Training/video_list.txt", "1 1/part.mp4 0 20 fake 0 0 0\n"),
}


@pytest.mark.parametrize("text", ["broken", "binary", "not what it should be"])
@pytest.mark.parametrize("layout", BROKEN)
def test_an_unusable_list_is_named(tmp_path, layout, text) -> None:
    TREES[layout](tmp_path)
    name, wrong = BROKEN[layout]
    path = tmp_path / name
    if text == "binary":
        path.write_bytes(b"\xff\xfe\x00\x9d" * 9)
    else:
        path.write_text('[{"broken' if text == "broken" else wrong)
    with pytest.raises(UsageError, match=str(path)):
        sources.read(str(tmp_path), layout)


def test_ff_without_splits_says_so(tmp_path) -> None:
    TREES["faceforensics"](tmp_path)
    for split in ("train", "val", "test"):
        (tmp_path / f"splits/{split}.json").unlink()
    read = Read(tmp_path, "faceforensics")
    assert not any(sample.split for sample in read.contents.samples)
    assert read.lines["pairs of train.json"].found == 0
    absent = read.lines["NeuralTextures c23"]
    assert (absent.expected, absent.found, absent.missing) == (1000, 0, 0)  # no list names files


def test_a_byte_order_mark_does_no_harm(tmp_path) -> None:
    TREES["dfdc-preview"](tmp_path)
    path = tmp_path / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert sources.read(str(tmp_path)).samples
    write_json(path, {})
    assert not sources.read(str(tmp_path)).samples
