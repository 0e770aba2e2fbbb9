"""Pseudo-abnormal proxies: where patches come from, where they land, how large they are."""

import pytest
import torch

from models.methods.papc import pseudo_abnormal

SIDE = 40


def numbered(total: int) -> torch.Tensor:
    """Images whose every pixel is unique: image number and place."""
    return torch.arange(total * SIDE * SIDE, dtype=torch.float64).reshape(total, 1, SIDE, SIDE)


@pytest.mark.parametrize("seed", range(5))
def test_one_patch_is_a_moved_piece_of_another_image(seed: int) -> None:
    image, valid = numbered(4), torch.ones(4, 1, SIDE, SIDE, dtype=torch.float64)
    proxy = torch.full_like(image, -1.0)
    draw = torch.Generator().manual_seed(seed)
    altered, mask = pseudo_abnormal(image, proxy, valid, draw, count=(1, 1), side=(0.2, 0.5), other_image=True)
    assert torch.equal(altered[mask == 0], proxy[mask == 0])
    for number in range(4):
        rows, columns = torch.nonzero(mask[number, 0], as_tuple=True)
        assert 0 < len(rows) <= (SIDE / 2) ** 2
        assert len(rows) == len(rows.unique()) * len(columns.unique())  # a full rectangle
        value = altered[number, 0, rows, columns].long()
        assert len((value // SIDE**2).unique()) == 1
        assert value[0] // SIDE**2 != number
        place = value % SIDE**2
        assert len((place // SIDE - rows).unique()) == 1
        assert len((place % SIDE - columns).unique()) == 1


def test_patches_stay_on_pixels_with_data_at_both_ends() -> None:
    image, valid = numbered(6), torch.zeros(6, 1, SIDE, SIDE, dtype=torch.float64)
    valid[:3, :, :, :20] = 1
    valid[3:, :, 10:, :] = 1
    image = torch.where(valid > 0, image, torch.nan)
    altered, mask = pseudo_abnormal(
        image,
        torch.zeros_like(image),
        valid,
        torch.Generator().manual_seed(0),
        count=(3, 3),
        side=(0.1, 0.6),
        other_image=True,
    )
    assert torch.isfinite(altered).all()
    assert (mask <= valid).all()
    assert (mask.flatten(1).sum(dim=1) > 0).any()


def test_count_and_repeatability() -> None:
    image, valid = numbered(8), torch.ones(8, 1, SIDE, SIDE, dtype=torch.float64)

    def run(seed: int, count: tuple[int, int]) -> torch.Tensor:
        draw = torch.Generator().manual_seed(seed)
        return pseudo_abnormal(image, 0 * image, valid, draw, count=count, side=(0.1, 0.1), other_image=True)[1]

    assert torch.equal(run(0, (1, 3)), run(0, (1, 3)))
    assert not torch.equal(run(0, (1, 3)), run(1, (1, 3)))
    one = run(2, (1, 1)).flatten(1).sum(dim=1)
    assert (one <= 16).all()
    assert (one >= 4).all()
    assert run(2, (3, 3)).sum() > one.sum()


def test_places_cover_the_valid_area() -> None:
    image, valid = numbered(64), torch.zeros(64, 1, SIDE, SIDE, dtype=torch.float64)
    valid[:, :, 10:30, 5:35] = 1
    seen = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        _, mask = pseudo_abnormal(image, 0 * image, valid, draw, count=(1, 3), side=(0.1, 0.2), other_image=True)
        seen += mask.sum(dim=(0, 1))
    assert torch.equal(seen > 0, valid[0, 0] > 0)


def test_a_single_image_serves_itself() -> None:
    image, valid = numbered(1), torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)
    _, mask = pseudo_abnormal(
        image, 0 * image, valid, torch.Generator().manual_seed(0), count=(1, 1), side=(0.2, 0.2), other_image=True
    )
    assert mask.sum() > 0
