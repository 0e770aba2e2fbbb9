"""The parts of the adversarial methods: frozen norms, pools, latent search, energy distance, U-Net, sparse head."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from models.method import Batch
from models.methods import build
from models.methods.adversarial_auto_encoders import SPARSE_DIM, SparseGANConfig
from models.methods.anogan import energy_distance, latent_search
from models.methods.reconstruction import VectorConfig
from models.methods.translation import CycleGANConfig, Pix2PixConfig
from models.nets.batch_statistics import batch_statistics
from models.nets.translation import ImagePool, UNet

CYCLE = CycleGANConfig(translator_widths=(4, 6), blocks=1, discriminator_widths=(4, 4, 4, 4), size=(32, 32))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 4, *, proxies: bool = True) -> Batch:
    image = torch.rand(count, 1, 32, 32, generator=draw())
    return Batch(image, image.round() if proxies else None, torch.ones(count, 1, 32, 32))


def test_batch_statistics_are_used_and_nothing_is_kept() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()).eval()
    value = torch.rand(8, 2, 4, 4, generator=draw()) * 5 + 3
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with batch_statistics(net):
        assert net[1].training
        normed = net[0](value)
    assert normed.mean().abs() < 1e-4
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    assert net[0].track_running_stats
    torch.testing.assert_close(net(value), value, rtol=1e-4, atol=1e-4)  # running statistics of a new norm: 0 and 1


def test_pool_fills_then_gives_back_earlier_images() -> None:
    pool, chance = ImagePool(3, 1, (2, 2)), draw()
    fresh = [torch.full((1, 1, 2, 2), number / 255) for number in range(40)]
    given = [pool(image, chance) for image in fresh]
    assert all(torch.equal(one, other) for one, other in zip(given[:3], fresh[:3], strict=True))
    swapped = [number for number in range(3, 40) if not torch.equal(given[number], fresh[number])]
    assert 10 < len(swapped) < 28
    numbers = [round(float(image.mean()) * 255) for image in given]
    assert all(numbers[number] < number for number in swapped)
    earlier = [numbers[number] for number in swapped]
    assert len(set(earlier)) == len(earlier)  # what was given leaves the pool


def test_a_pool_refuses_images_of_another_size() -> None:
    value = torch.rand(2, 1, 4, 4, generator=draw())
    with pytest.raises(ValueError, match="set `size`"):
        ImagePool(3, 1, (2, 2))(value, draw())


def test_search_finds_each_images_vector_by_itself() -> None:
    wanted = torch.tensor([[0.5, -0.3], [0.9, 0.2], [3.0, 0.0]])

    def find(rows: Tensor) -> Tensor:
        start = torch.zeros(2)
        return latent_search(
            lambda vectors: (vectors - rows).square().sum(dim=1),
            start,
            len(rows),
            steps=150,
        )

    with torch.no_grad():
        found = find(wanted)
        assert torch.equal(find(wanted[1:2]), found[1:2])
    assert not found.requires_grad
    torch.testing.assert_close(found, wanted.clamp(-1, 1), atol=0.01, rtol=0)


def test_energy_distance_is_zero_for_equal_sets_and_sees_collapse() -> None:
    real = torch.rand(8, 1, 32, 32, generator=draw())
    assert energy_distance(real, real.flip(0)).abs() < 1e-6
    collapsed = real.mean(dim=0, keepdim=True).expand_as(real)
    assert energy_distance(real, collapsed) > 0.01
    assert energy_distance(real, collapsed + 0.3) > energy_distance(real, collapsed)


def test_u_net_drops_out_by_its_generator_only() -> None:
    net = UNet(1, (4,) * 6).eval()
    value = torch.rand(2, 1, 64, 64, generator=draw())
    assert torch.equal(net(value), net(value))
    assert torch.equal(net(value, draw(1)), net(value, draw(1)))
    assert not torch.equal(net(value, draw(1)), net(value))
    assert UNet(1, (4,) * 8).dropped == (False, False, False, False, True, True, True, False)  # the paper's three
    with pytest.raises(ValueError, match="multiples of 64"):
        net(value[..., :48])


def test_sparse_head_keeps_its_variance_when_the_latent_shrinks() -> None:
    config = SparseGANConfig(widths=(4, 6), latent_dim=4, discriminator_widths=(4, 4))
    network = build("sparse_gan", config, seed=0).get_submodule("generator").train()
    with torch.no_grad():
        network.get_submodule("rebuild.encoder.head").weight.mul_(0.5)
        _, head = network(batch().image)
    torch.testing.assert_close(head.var(dim=(0, 2, 3), unbiased=False), torch.ones(SPARSE_DIM), rtol=0.05, atol=0)


def test_the_generator_of_f_anogan_waits_for_its_critic() -> None:
    method = build("f_anogan", VectorConfig(size=(32, 32), width=4, widest=8, latent_dim=4), seed=0)
    criticise, generate = method.stages[0].phases
    assert (criticise.every, generate.every) == (1, 5)
    method.activate(criticise)
    named = method.losses("stage1", "criticise", batch(), draw())
    assert named["gradient_penalty"] > 0
    assert named["criticise"] != 0


def test_pix2pix_says_what_it_misses() -> None:
    method = build("pix2pix", Pix2PixConfig(widths=(4, 6), discriminator_widths=(4, 4, 4, 4)), seed=0).eval()
    assert method.needs_proxy
    with pytest.raises(ValueError, match="proxies"):
        method.score(batch(proxies=False))
    assert torch.equal(method.score(batch()).proxy, batch().true_proxy())


def test_cycle_gan_scores_by_the_cycle_or_from_the_true_proxy() -> None:
    method = build("cycle_gan", CYCLE, seed=0).eval()
    cycle = method.score(batch(proxies=False))
    assert torch.equal(method.score(batch()).latent, cycle.latent)
    method.config = dataclasses.replace(CYCLE, score_from="proxy")
    straight = method.score(batch())
    assert torch.equal(straight.proxy, batch().true_proxy())
    assert not torch.equal(straight.reconstruction, cycle.reconstruction)
