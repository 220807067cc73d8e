from dfd_batch.console.account import next_steps


def test_what_is_done_though_it_may_yet_be_judged_is_told():
    assert next_steps({"scored": 3, "no_face": 1}, {"authentic": 3}, "out") == []
    (line,) = next_steps({"too_large": 2}, {}, "out")
    assert "2 too large" in line and "higher limits" in line and "another --out" in line
    (line,) = next_steps({"timeout": 2}, {}, "out")
    assert "run the same command again" in line
