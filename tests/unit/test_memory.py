"""The memory beside the equations: revival, precision, gradients, validity, persistence."""

import pytest
import torch
from torch import Tensor

from models.nets.memory import Memory


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def test_first_batch_gives_the_items() -> None:
    memory = Memory(8, 4, decay=0.99, revive_below=0.0)
    z = latents(2, 4, 5, 5)
    vectors = z.permute(0, 2, 3, 1).reshape(-1, 4)
    memory._start(vectors, generator())
    assert bool(memory.ready)
    assert all((vectors == item).all(dim=1).any() for item in memory.items)
    assert len(torch.unique(memory.items, dim=0)) == 8
    torch.testing.assert_close(memory.sums / memory.counts[:, None], memory.items)


def test_gradient_passes_straight_through() -> None:
    memory = Memory(8, 4, decay=0.99, revive_below=0.1)
    z = latents(2, 4, 5, 5).requires_grad_()
    found = memory(z, generator=generator())
    weight = latents(2, 4, 5, 5, seed=1)
    (found.latent * weight).sum().backward()
    torch.testing.assert_close(z.grad, weight)
    assert not torch.equal(found.latent, z)


def test_commitment_pulls_latents_to_items_only() -> None:
    memory = Memory(8, 4, decay=0.99, revive_below=0.0)
    memory(latents(2, 4, 5, 5), generator=generator())
    memory.eval()
    z = latents(2, 4, 5, 5, seed=1).requires_grad_()
    found = memory(z)
    found.commitment.backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, 2 * (z - found.latent).detach() / z.numel())


def test_eval_changes_nothing_and_needs_no_generator() -> None:
    memory = Memory(8, 4, decay=0.99, revive_below=0.1)
    memory(latents(2, 4, 5, 5), generator=generator())
    memory.eval()
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    memory(latents(2, 4, 5, 5, seed=2))
    assert all(torch.equal(value, before[name]) for name, value in memory.state_dict().items())


def test_training_without_generator_says_so() -> None:
    with pytest.raises(ValueError, match=r"pass a torch\.Generator"):
        Memory(8, 4, decay=0.99, revive_below=0.1)(latents(2, 4, 5, 5))


def test_dead_items_are_revived_from_the_batch() -> None:
    memory = Memory(4, 2, decay=0.9, revive_below=0.1)
    z = latents(1, 2, 8, 8)
    memory(z, generator=generator())
    memory.items[0] = memory.sums[0] = 1e6  # never the nearest
    memory.counts[0] = 1e-9
    memory.sums[0] *= 1e-9
    memory(z, generator=generator(1))
    vectors = z.permute(0, 2, 3, 1).reshape(-1, 2)
    assert (vectors == memory.items[0]).all(dim=1).any()
    assert memory.counts[0] > 0.1 * memory.counts.mean()
    torch.testing.assert_close(memory.sums / memory.counts[:, None], memory.items)


def test_reviving_keeps_more_items_in_use_when_latents_drift() -> None:
    used = {}
    for share in (0.0, 0.1):
        memory = Memory(32, 4, decay=0.9, revive_below=share)
        for step in range(150):
            memory(latents(4, 4, 8, 8, seed=step) * 0.2 + step / 10, generator=generator(step))
        used[share] = memory.perplexity()
    assert used[0.1] > 2 * used[0.0]
    assert used[0.1] > 16


def test_perplexity_counts_equal_items() -> None:
    memory = Memory(16, 4, decay=0.99, revive_below=0.0)
    assert memory.perplexity() == pytest.approx(16)
    memory.counts.zero_()
    memory.counts[3] = 5.0
    assert memory.perplexity() == pytest.approx(1)


def test_float32_under_autocast() -> None:
    exact, mixed = (Memory(8, 4, decay=0.99, revive_below=0.1) for _ in range(2))
    z = latents(2, 4, 5, 5).bfloat16()
    expected = exact(z.float(), generator=generator())
    with torch.autocast("cpu", torch.bfloat16):
        found = mixed(z, generator=generator())
    assert found.latent.dtype == found.commitment.dtype == torch.float32
    torch.testing.assert_close(found.latent, expected.latent, rtol=0, atol=0)
    for name, value in mixed.state_dict().items():
        torch.testing.assert_close(value, exact.state_dict()[name], rtol=0, atol=0)


def test_positions_without_data_do_not_teach() -> None:
    valid = torch.zeros(2, 1, 5, 5)
    valid[..., :3] = 1
    spoiled = latents(2, 4, 5, 5)
    spoiled[..., 3:] = 1e4
    memories = []
    for z in (latents(2, 4, 5, 5), spoiled):
        memory = Memory(8, 4, decay=0.9, revive_below=0.1)
        found = memory(z, generator=generator(), valid=valid)
        memories.append((memory.state_dict(), found.commitment))
    for name, value in memories[0][0].items():
        torch.testing.assert_close(value, memories[1][0][name], rtol=0, atol=0)
    torch.testing.assert_close(memories[0][1], memories[1][1])


def test_a_batch_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match="no valid latent position"):
        Memory(8, 4, decay=0.9, revive_below=0.1)(
            latents(1, 4, 2, 2), generator=generator(), valid=torch.zeros(1, 1, 2, 2)
        )
