"""Soft memory: shares, shrinking, the guard for rows that would vanish, entropy over positions with data."""

import math

import torch

from models.nets.memory import SoftMemory, shrunk


def memory(shrink: float = 1.0) -> SoftMemory:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SoftMemory(5, 3, shrink=shrink)


def test_shares_are_the_softmax_of_products_without_a_threshold() -> None:
    held = memory(shrink=0.0)
    latent = 3 * torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    found = held(latent)
    vector = latent[1, :, 2, 5]
    shares = (held.items @ vector).softmax(dim=0)
    torch.testing.assert_close(found.weights[1, :, 2, 5], shares)
    torch.testing.assert_close(found.latent[1, :, 2, 5], shares @ held.items)


def test_shares_at_the_threshold_or_below_fall_away_and_the_rest_sums_to_one() -> None:
    found = shrunk(torch.tensor([0.5, 0.3, 0.15, 0.05]), 0.15)
    torch.testing.assert_close(found, torch.tensor([0.625, 0.375, 0.0, 0.0]))


def test_a_row_without_any_share_above_the_threshold_stays_as_it_is() -> None:
    shares = torch.full((2, 4), 0.25, requires_grad=True)
    found = shrunk(shares, 0.75)
    assert torch.equal(found, shares)
    (found * torch.arange(4.0)).sum().backward()
    assert shares.grad is not None
    assert shares.grad.isfinite().all()


def test_entropy_counts_only_positions_with_data_and_has_a_finite_gradient() -> None:
    held = memory()
    latent = torch.zeros(1, 3, 2, 2)
    latent[..., 1, :] = 40 * held.items.detach()[0][:, None]
    valid = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    found = held(latent.requires_grad_(), valid=valid)
    assert math.isclose(found.entropy.item(), math.log(5), rel_tol=1e-5)
    assert held(latent).entropy < found.entropy
    held(latent).entropy.backward()
    assert latent.grad is not None
    assert latent.grad.isfinite().all()
