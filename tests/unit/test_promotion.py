"""A new detector becomes the champion only where the whole interval of the paired difference lies above zero."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.layers import RESAMPLES
from pipeline.evaluation.records import RECORD_KEYS
from pipeline.evaluation.saved import write_evaluation
from pipeline.store.versions import Version
from pipeline.wiring.registry import by_data, compare

COUNT = 300
LABELS = np.arange(COUNT) % 2
TRUTH = np.random.default_rng(0).normal(size=COUNT)


def record(level, value):
    fields = dict.fromkeys(RECORD_KEYS, "")
    fields |= {"dataset": "oct", "method": "proxyano", "level": level, "score": "standardised", "metric": "auroc"}
    return fields | {"subset": "all", "value": value, "low": None, "high": None, "n": COUNT, "seed": 0}


@pytest.fixture
def evaluation(tmp_path):
    def make(name, signal, *, noise=TRUTH, images="i", level="image", resamples=(), tiles="t"):
        scores = pd.DataFrame({"image_id": [f"{images}{n}" for n in range(COUNT)], "split": "test", "label": LABELS})
        scores["klass"], scores["group"] = np.where(LABELS, "CNV", "normal"), scores["image_id"]
        scores["proxyano:standardised"] = noise + signal * LABELS
        summary = {"dataset": "oct", "title": "OCT", "preset": "quick", "method": "proxyano", "seed": 0}
        summary |= {"versions": {"oct/tiles": tiles}}
        records = [record(level, float(np.mean(resamples)) if len(resamples) else 0.5)]
        write_evaluation(tmp_path / name, records=records, scores=scores, summary=summary)
        (tmp_path / name / RESAMPLES).write_text(pd.Series({"proxyano:standardised": list(resamples)}).to_json())
        return Version("oct/evaluation", tmp_path / name, name.encode().hex().ljust(16, "0"), {})

    return make


def test_clearly_better_is_promoted_and_clearly_worse_is_not(evaluation):
    weak, strong = evaluation("weak", 0.5), evaluation("strong", 2.0)
    found = compare(weak, strong)
    assert found.better
    assert "image AUROC +0." in found.why
    assert not compare(strong, weak).better


def test_a_little_better_is_not_enough(evaluation):
    found = compare(evaluation("one", 1.0), evaluation("other", 1.1, noise=np.random.default_rng(1).normal(size=COUNT)))
    assert not found.better
    assert "not wholly above 0" in found.why


def test_other_test_images_cannot_be_compared(evaluation):
    found = compare(evaluation("weak", 0.5), evaluation("strong", 2.0, images="j"))
    assert not found.better
    assert found.why == "the two were not tested on the same images"


def test_pixels_decide_where_there_are_masks(evaluation):
    low, high = np.linspace(0.70, 0.74, 200), np.linspace(0.80, 0.84, 200)
    one, other = (evaluation(n, 1.0, level="pixel", resamples=r) for n, r in (("one", low), ("other", high)))
    found = compare(one, other)
    assert found.better
    assert found.why.startswith("pixel AUROC +0.1000, ")
    assert not compare(other, one).better
    elsewhere = evaluation("elsewhere", 1.0, level="pixel", resamples=high, tiles="u")
    assert compare(one, elsewhere).why == "the two were not tested on the same tiles"


def test_other_normals_take_over_and_the_sample_never_stands_above_real_data():
    def facts(preset, normals):
        return {"preset": preset, "versions": {"oct/normals": normals, "oct/stage2": normals + "s"}}

    assert by_data(facts("quick", "a"), facts("quick", "a")) is None
    assert by_data(facts("quick", "a"), facts("full", "a")) is None
    assert by_data(facts("quick", "a"), facts("quick", "b")).better
    assert by_data(facts("sample", "a"), facts("quick", "b")).better
    found = by_data(facts("quick", "b"), facts("sample", "a"))
    assert not found.better
    assert "sample never replaces real data" in found.why


def test_the_champion_itself_is_not_promoted_again(evaluation):
    one = evaluation("one", 1.0)
    assert not compare(one, one).better
