"""Moves and tones of training images: what they change, what they keep, and that chance is the generator's."""

import pytest
import torch

from models.method import Batch
from models.schedule import TrainConfig
from models.source import varied

SIDE = 32


def batch(count: int = 4) -> Batch:
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(count, 1, SIDE, SIDE, generator=draw) * 0.5 + 0.25
    valid = torch.zeros(count, 1, SIDE, SIDE)
    valid[..., 4:28, 4:28] = 1
    return Batch(image, image.clone(), valid, valid.clone())


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_for_is_nothing_changed():
    before = batch()
    after = varied(before, seeded(), move=0, tone=0)
    assert after is before


def test_image_and_proxy_move_alike_and_what_comes_from_outside_is_no_data():
    after = varied(batch(), seeded(), move=0.2, tone=0)
    assert after.proxy is not None
    assert torch.equal(after.image, after.proxy)
    assert not torch.equal(after.image, batch().image)
    assert set(after.valid.unique().tolist()) <= {0.0, 1.0}
    assert after.valid.sum() < batch().valid.numel()
    again = varied(batch(), seeded(), move=0.2, tone=0)
    assert torch.equal(after.image, again.image)
    assert not torch.equal(after.image, varied(batch(), seeded(2), move=0.2, tone=0).image)


def test_every_image_moves_by_its_own_draw():
    same = batch(1)
    twins = Batch(same.image.expand(2, -1, -1, -1), None, same.valid.expand(2, -1, -1, -1))
    after = varied(twins, seeded(), move=0.2, tone=0)
    assert not torch.allclose(after.image[0], after.image[1])


def test_a_tone_keeps_the_order_of_pixels_and_the_range():
    before = batch()
    after = varied(before, seeded(), move=0, tone=0.3)
    assert after.proxy is not None
    assert torch.equal(after.image, after.proxy)
    for one, other in zip(before.image.flatten(1), after.image.flatten(1), strict=True):
        order = one.argsort()
        assert (other[order].diff() >= -1e-6).all()
    assert after.image.min() >= 0
    assert after.image.max() <= 1
    assert torch.equal(after.valid, before.valid)


@pytest.mark.parametrize("wrong", [{"move": 0.5}, {"tone": 1.0}])
def test_ranges_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**wrong)
