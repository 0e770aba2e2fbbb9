"""The comparison of two homes sees what differs, what is missing and what is new."""

from benchmarks.same_records import differences


def record(value, low=0.1):
    return {"value": value, "low": low, "high": None, "n": 3}


def test_equal_records_differ_in_nothing():
    assert differences({("a",): record(0.5)}, {("a",): record(0.5 + 1e-7)}) == []


def test_other_values_bounds_and_keys_are_named():
    before = {("a", "auroc"): record(0.5), ("b", "ap"): record(0.5), ("c", "ap"): record(None)}
    after = {("a", "auroc"): record(0.51), ("c", "ap"): record(0.1), ("d", "ap"): record(0.5, low=None)}
    assert differences(before, after) == [
        "missing: b ap",
        "new: d ap",
        "a auroc: value 0.5 -> 0.51",
        "c ap: value None -> 0.1",
    ]
