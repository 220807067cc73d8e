from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.checkpoint import Thresholds
from dfd_batch.site import charts
from dfd_batch.site.selection import BANDS

chances = st.floats(0, 1)


@settings(deadline=None)
@given(st.lists(st.tuples(chances, st.sampled_from(BANDS)), min_size=1, max_size=60))
def test_a_histogram_counts_every_object_once_and_draws_each(scored):
    probabilities, verdicts = zip(*scored, strict=True)
    found = charts.histogram(probabilities, verdicts, Thresholds())
    assert sum(n for _, _, n in found.bins) == len(scored) == sum(n for *_, n in found.labels)
    for (low, high, n), _ in zip(found.bins, range(charts.BINS), strict=True):
        inside = [p for p in probabilities if low <= p < high or (high == 1 and p == 1)]
        assert abs(n - len(inside)) <= sum(p in (low, high) for p in probabilities)
    drawn = {(round(b.x), b.verdict) for b in found.bars}
    assert len(drawn) == len(found.bars) and {b.verdict for b in found.bars} == set(verdicts)
    assert all(b.h >= 2 for b in found.bars)  # a single object among a million is seen
    assert len(found.marks) == 3


times = st.lists(st.integers(0, 3000), min_size=1, max_size=40, unique=True)


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 9), times, min_size=1, max_size=4))
def test_a_timeline_shows_every_point_inside_its_frame(tracks):
    points = [
        {"t_s": t / 25, "track": k, "probability": (t % 11) / 10}
        for k, own in tracks.items()
        for t in own
    ]
    found = charts.timeline(points, [], 0.6)
    assert len(found.dots) == len(points) and [lane.track for lane in found.lanes] == sorted(tracks)
    assert sum(len(line.split()) for _, line in found.lines) == len(points)
    for _, x, y in found.dots:
        assert charts.LEFT <= x <= charts.LEFT + charts.PLOT_W
        assert charts.TOP <= y <= charts.TOP + charts.PLOT_H
    assert 1 <= len(found.ticks) <= 8 and found.lanes[-1].y < found.height


def test_a_line_breaks_where_nobody_looked_and_segments_keep_their_face():
    clips = [[i / 25 for i in range(16)], [10 + i / 25 for i in range(16)]]
    points = [{"t_s": t, "track": 2, "probability": 0.7} for clip in clips for t in clip]
    segments = [{"track": 2, "start_s": 10.0, "end_s": 10.64, "probability": 0.7}]
    found = charts.timeline(points, segments, Thresholds())
    assert [len(line.split()) for _, line in found.lines] == [16, 16]
    (lane,) = found.lanes
    assert len(lane.looked) == 2
    longer = charts.timeline(points, segments, None, duration_s=100.0)
    assert longer.lanes[0].segments[0][1] < charts.LEFT + 0.11 * charts.PLOT_W
    ((begin, end),) = lane.segments
    assert abs(begin - lane.looked[1][0]) < 0.2 and end == charts.LEFT + charts.PLOT_W


@settings(deadline=None)
@given(st.lists(chances, min_size=3, max_size=3).map(sorted))
def test_the_names_of_levels_never_overlap(bounds):
    thresholds = Thresholds(**dict(zip(("inconclusive", "suspicious", "manipulated"), bounds)))  # noqa: B905
    points = [{"t_s": 0.0, "track": 0, "probability": 0.5}]
    labels = sorted(y for _, y, _ in charts.timeline(points, [], thresholds).levels)
    assert all(b - a >= charts.LABEL_H - 0.2 for a, b in zip(labels, labels[1:]))  # noqa: B905, RUF007


def test_without_points_there_is_no_timeline():
    assert charts.timeline([], [], None) is None
