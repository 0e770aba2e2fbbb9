"""Anomaly makers: what they change, where, and by how much."""

import pytest
import torch

from models.methods.makers import MAKERS, SHAPES, MakerConfig, make_anomalies
from models.methods.proxyano_config import ProxyAnoConfig

COUNT, SIDE = 24, 64


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layered(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Images with bright layers at heights of their own; the last eight columns hold no data."""
    rows = torch.arange(SIDE)[None, None, :, None] + torch.arange(COUNT)[:, None, None, None]
    image = (0.5 + 0.3 * torch.sin(rows / 3)).expand(COUNT, channels, SIDE, SIDE).contiguous()
    valid = torch.ones(COUNT, 1, SIDE, SIDE)
    valid[..., -8:] = 0
    return image, valid


def made(*names: str, channels: int = 1, seed: int = 0, **how: object) -> tuple[torch.Tensor, torch.Tensor]:
    image, valid = layered(channels)
    config = MakerConfig(makers=names, **({"count": (1, 1)} | how))  # type: ignore[arg-type]
    return make_anomalies(image, image, valid, draw(seed), config)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_maker_changes_what_its_mask_marks_and_nothing_without_data(name: str, channels: int) -> None:
    image, valid = layered(channels)
    altered, mask = made(name, channels=channels, strength=(0.2, 0.5))
    change = (altered - image).abs().amax(dim=1, keepdim=True)
    assert altered.shape == image.shape
    assert mask.shape == valid.shape
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert altered.min() >= 0
    assert altered.max() <= 1
    assert (change * (1 - valid) == 0).all()
    assert (mask * (1 - valid) == 0).all()
    assert change[mask > 0].mean() > 10 * change[mask == 0].mean()
    # a small lesion may fall between pixels or on pixels without data, but not in most images
    assert (mask.sum(dim=(1, 2, 3)) > 0).float().mean() > 0.6


@pytest.mark.parametrize("name", SHAPES)
def test_strength_bounds_the_change_of_a_painted_shape(name: str) -> None:
    image, _ = layered()
    weak, _ = made(name, strength=(0.05, 0.05))
    strong, _ = made(name, strength=(0.4, 0.4))
    assert 0.03 < (weak - image).abs().max() < 0.15  # texture adds to it
    assert (strong - image).abs().mean() > 3 * (weak - image).abs().mean()
    assert ((strong - image) > 0.1).any()
    assert ((strong - image) < -0.1).any()


def test_radius_bounds_the_size() -> None:
    _, small = made("blob", radius=(0.03, 0.03))
    _, large = made("blob", radius=(0.2, 0.2))
    expected = 3.14 * (0.2 * SIDE) ** 2
    assert large.sum(dim=(1, 2, 3)).max() == pytest.approx(expected, rel=0.1)
    assert small.sum(dim=(1, 2, 3)).max() < expected / 20


def test_the_generator_alone_decides() -> None:
    before = torch.get_rng_state()
    one, other, third = made(*MAKERS, seed=1), made(*MAKERS, seed=1), made(*MAKERS, seed=2)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], third[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_none_of_the_images_is_changed_where_none_is_wanted() -> None:
    image, _ = layered()
    altered, mask = made(*MAKERS, count=(0, 0))
    assert torch.equal(altered, image)
    assert not mask.any()
    some, _ = made("blob", count=(0, 1))
    untouched = (some == image).flatten(1).all(dim=1)
    assert untouched.any()
    assert not untouched.all()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"makers": ("blob", "cloud")}, "makers are some of .*, got cloud"),
        ({"makers": ()}, "got none"),
        ({"makers": ("blob",), "radius": (0.2, 0.1)}, "radius is a range"),
        ({"makers": ("blob",), "strength": (0.0, 0.1)}, "strength is a range"),
        ({"makers": ("blob",), "count": (2, 1)}, "count is a range"),
    ],
)
def test_what_no_maker_can_do_is_said(how: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MakerConfig(**how)  # type: ignore[arg-type]


def test_a_method_refuses_makers_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="got cloud"):
        ProxyAnoConfig(makers=("cloud",))
