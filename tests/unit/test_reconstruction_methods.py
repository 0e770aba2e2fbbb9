"""Equations and choices of the methods that rebuild the image: Auto-Encoder, MemAE, VAE, denoising, GANomaly."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from models.method import Batch, Method, MethodConfig
from models.methods import build
from models.methods.adversarial_auto_encoders import GANomaly
from models.methods.auto_encoders import VAE, DenoisingConfig, MemAEConfig, Posterior, coarse_noise
from models.methods.reconstruction import ReconstructionConfig, VectorConfig
from models.nets.pyramids import VectorEncoder, pyramid_widths

SMALL = {"widths": (4, 6), "latent_dim": 4}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch() -> Batch:
    valid = torch.ones(3, 1, 16, 16)
    valid[0, :, :3] = 0
    scored = torch.ones_like(valid)
    scored[:, :, :, 12:] = 0
    return Batch(torch.rand(3, 1, 16, 16, generator=draw()), None, valid, scored)


@pytest.mark.parametrize(
    ("name", "config", "power"),
    [
        ("auto_encoder", ReconstructionConfig(**SMALL), 1),
        ("denoising", DenoisingConfig(**SMALL), 1),
        ("memae", MemAEConfig(**SMALL, memory_items=6), 2),
    ],
)
def test_own_score_is_the_mean_error_of_scored_pixels(name: str, config: MethodConfig, power: int) -> None:
    found = build(name, config, seed=0).eval().score(batch())
    pixels = found.residual[0, 0, 3:, :12]
    torch.testing.assert_close(found.latent[0], pixels.abs().pow(power).mean())


def test_divergence_is_that_of_gaussians() -> None:
    mean, log_variance = torch.randn(2, 2, 3, 4, 4, generator=draw())
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(Posterior(mean, log_variance).divergence(), expected)


def test_vae_scores_with_the_mean_and_adds_the_weighted_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = build("vae", ReconstructionConfig(**SMALL), seed=0).eval()
    assert isinstance(plain, VAE)
    whole = Batch(batch().image, None, torch.ones(3, 1, 16, 16))
    monkeypatch.setattr("models.methods.auto_encoders.KL_WEIGHT", 0.0)
    base = plain.score(whole)
    monkeypatch.setattr("models.methods.auto_encoders.KL_WEIGHT", 2.0)
    found = plain.score(whole)
    assert torch.equal(base.reconstruction, found.reconstruction)
    posterior = plain.network(whole.image, None)[1]
    torch.testing.assert_close(found.latent - base.latent, 2 * posterior.divergence().flatten(1).sum(dim=1) / 256)
    with torch.no_grad():
        losses = [plain.losses("stage1", "reconstruct", whole, draw(seed))["reconstruction"] for seed in (1, 2)]
    assert losses[0] != losses[1]


def test_coarse_noise_is_coarse_rolled_and_its_own_for_every_image() -> None:
    noise = coarse_noise(torch.Size((400, 1, 32, 128)), draw(), cells=4)
    assert noise.shape == (400, 1, 32, 128)
    assert not torch.equal(noise[0], noise[1])
    assert abs(noise.mean()) < 0.005
    assert noise.std(dim=0).std() < 0.02  # the same spread everywhere: cells have no fixed place
    steps, spread = noise.diff(dim=-1).abs().mean(), noise.abs().mean()
    assert steps < 0.25 * spread  # neighbouring pixels share a cell of 8 px
    assert 0.1 < noise.std() < 0.2


def test_denoising_adds_noise_only_where_there_is_data() -> None:
    method = build("denoising", DenoisingConfig(**SMALL, invalid_fill=0.5), seed=0).eval()
    seen: list[torch.Tensor] = []
    method.get_submodule("network").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    method.validation("stage1", batch())
    method.score(batch())
    noisy, clean = seen[0], torch.cat(seen[1:])  # scores are taken one image at a time
    assert torch.equal(noisy[0, 0, :3], torch.full((3, 16), 0.5))
    assert torch.equal(clean[0, 0, 3:], batch().image[0, 0, 3:])
    assert (noisy[1] != clean[1]).float().mean() > 0.9


@pytest.mark.parametrize(
    ("size", "widths"),
    [((32, 32), (8, 16, 32)), ((64, 64), (8, 16, 32, 40)), ((32, 128), (8, 16, 32)), ((48, 48), (8, 16, 32))],
)
def test_a_pyramid_ends_in_one_vector(size: tuple[int, int], widths: tuple[int, ...]) -> None:
    assert pyramid_widths(size, 8, 40) == widths
    net = VectorEncoder(1, size, 8, 40, 7)
    assert net(torch.zeros(2, 1, *size)).shape == (2, 7, 1, 1)
    with pytest.raises(ValueError, match="made for images"):
        net(torch.zeros(2, 1, size[0], size[1] + 8))


def test_ganomaly_scores_the_change_of_the_latent() -> None:
    method: Method = build("ganomaly", VectorConfig(size=(16, 16), width=4, widest=8, latent_dim=5), seed=0).eval()
    assert isinstance(method, GANomaly)
    given = Batch(batch().image, None, torch.ones(3, 1, 16, 16))
    found = method.score(given)
    with torch.no_grad():
        first = method.generator.encoder(2 * given.image - 1)
        second = method.generator.second(2 * found.reconstruction - 1)
    torch.testing.assert_close(found.latent, (first - second).square().flatten(1).mean(dim=1))
    assert ((found.reconstruction >= 0) & (found.reconstruction <= 1)).all()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (ReconstructionConfig, {"widths": ()}),
        (ReconstructionConfig, {"invalid_fill": -0.1}),
        (MemAEConfig, {"memory_items": 0}),
        (MemAEConfig, {"memory": "hard"}),
        (DenoisingConfig, {"latent_dim": 0}),
        (VectorConfig, {"latent_dim": 0}),
    ],
)
def test_values_out_of_range_are_refused(kind: type[MethodConfig], wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind.from_json(wrong)


def test_sizes_without_a_pyramid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a pyramid halves \(36, 64\)"):
        VectorConfig(size=(36, 64))
