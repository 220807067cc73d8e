from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.training.pools import is_held_out
from dfd_batch.training.sources import Sample
from dfd_batch.training.splits import assign, some

GROUP = st.integers(0, 12).map(str)


@st.composite
def samples(draw):
    """Genuine media and fakes that link groups; some groups have a split of their own."""
    official = draw(st.dictionaries(GROUP, st.sampled_from(["train", "val", "test"]), max_size=5))
    made = [Sample(f"real/{g}", 0, g, split=s) for g, s in official.items()]
    free = [g for g in map(str, range(13)) if g not in official]
    made += [Sample(f"real/{g}", 0, g) for g in draw(st.lists(st.sampled_from(free), unique=True))]
    pairs = draw(st.lists(st.tuples(GROUP, GROUP), max_size=30))
    made += [Sample(f"fake/{i}", 1, a, "m", links=(b,)) for i, (a, b) in enumerate(pairs)]
    return draw(st.permutations(made))


@settings(deadline=None)
@given(samples())
def test_no_group_is_on_two_sides_and_every_sample_is_counted(given_samples) -> None:
    placed, n_left_out = assign(given_samples)
    assert len(placed) + n_left_out == len(given_samples)
    sides: dict[str, set[str]] = {}
    for sample in placed:
        assert sample.split in ("train", "val", "test")
        for group in (sample.group, *sample.links):
            sides.setdefault(group, set()).add(sample.split)
    assert all(len(found) == 1 for found in sides.values())


@settings(deadline=None)
@given(samples(), st.randoms())
def test_splits_do_not_depend_on_the_order(given_samples, random) -> None:
    shuffled = list(given_samples)
    random.shuffle(shuffled)
    one, other = (
        {sample.uri: sample.split for sample in assign(order)[0]}
        for order in (given_samples, shuffled)
    )
    assert one == other


def test_groups_alone_go_by_their_hash() -> None:
    placed, n_left_out = assign([Sample(str(i), 0, f"speaker {i}") for i in range(400)])
    assert not n_left_out
    assert all((s.split == "val") == is_held_out(s.group) for s in placed)
    assert 20 < sum(s.split == "val" for s in placed) < 90


def test_official_splits_stay_even_where_they_share_people() -> None:
    given_samples = [
        Sample(split, 0, group, split=split)
        for split, group in (("train", "x"), ("val", "y"), ("test", "x"))
    ]
    assert assign(given_samples) == (given_samples, 0)
    # What belongs to both sides can go to neither.
    assert assign([*given_samples, Sample("c", 1, "x", "m")]) == (given_samples, 1)


def test_where_all_are_linked_the_links_between_sides_are_cut() -> None:
    people = [f"actor {i}" for i in range(28)]
    made = [Sample(f"{a}/{b}", 1, a, "m", links=(b,)) for a in people for b in people if a != b]
    placed, n_left_out = assign([*(Sample(a, 0, a) for a in people), *made])
    held = [a for a in people if is_held_out(a)]
    assert 0 < len(held) < len(people)
    assert n_left_out == 2 * len(held) * (len(people) - len(held))
    assert {s.group for s in placed if s.split == "val"} == set(held)


def test_some_samples_are_whole_groups_of_both_sides() -> None:
    made = [
        Sample(f"{label}/{i}", label, str(i), "m" * label) for label in (0, 1) for i in range(300)
    ]
    few = some(assign(made)[0], 100)
    assert sum(sample.label for sample in few) == 50
    assert {s.group for s in few if s.label} == {s.group for s in few if not s.label}
    assert {sample.split for sample in few} == {"train", "val"}
    assert some(made, None) == made


def test_groups_that_a_fake_links_stay_together() -> None:
    made = [Sample(f"{i}", 1, f"target {i}", "m", links=(f"source {i}",)) for i in range(60)]
    placed, n_left_out = assign(made)
    assert not n_left_out and {sample.split for sample in placed} == {"train", "val"}
    crossing = [i for i in range(60) if is_held_out(f"target {i}") != is_held_out(f"source {i}")]
    assert crossing  # by their own hashes these would lie on two sides


def test_a_source_video_of_the_test_split_is_nowhere_else() -> None:
    official = [
        Sample("real/test", 0, "x", split="test"),
        Sample("fake/test", 1, "y", "m", "test", pair="real/y"),
        Sample("real/val", 0, "v", split="val"),
        Sample("real/train", 0, "x", split="train"),
        Sample("fake/train", 1, "x", "m", "train", pair="real/train"),
    ]
    shared = [
        Sample("fake/of test", 1, "x", "m", "train", pair="real/test"),
        Sample("real/y", 0, "y", split="val"),
        Sample("fake/twin", 1, "y", "m", "train", pair="real/y"),
    ]
    assert assign([*official, *shared]) == (official, 3)


def test_sequences_of_a_tested_video_are_in_no_other_part() -> None:
    named = [("1", "test"), ("1", "train"), ("2", "train"), ("3", "test")]
    made = [
        Sample(f"real_{part}/{n}.tar.gz#{i}", 0, f"real {n}", split=part, cropped=True)
        for n, part in named
        for i in range(2)
    ]
    placed, n_left_out = assign(made)
    assert n_left_out == 2
    assert {s.group for s in placed if s.split != "test"} == {"real 2"}


def test_an_own_training_split_without_val_gives_groups_to_one() -> None:
    free = [Sample(f"real/{i}", 0, f"person {i}") for i in range(200)]
    free += [
        Sample(f"fake/{i}", 1, f"person {i}", "m", links=(f"person {i + 1}",), pair=f"real/{i}")
        for i in range(0, 200, 2)
    ]
    test = Sample("real/test", 0, "somebody", split="test")
    placed, n_left_out = assign([*(replace(s, split="train") for s in free), test])
    assert (placed, n_left_out) == ([*assign(free)[0], test], 0)
    assert 20 < sum(sample.split == "val" for sample in placed) < 90


def test_fakes_between_the_new_val_and_train_are_counted_as_left_out() -> None:
    people = [f"actor {i}" for i in range(28)]
    made = [Sample(a, 0, a, split="train") for a in people]
    made += [
        Sample(f"{a}/{b}", 1, a, "m", "train", links=(b,)) for a in people for b in people if a != b
    ]
    placed, n_left_out = assign(made)
    assert {sample.split for sample in placed} == {"train", "val"}
    assert n_left_out == len(made) - len(placed) > 0
