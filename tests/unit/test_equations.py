"""The paper's equations against direct float64 computations."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.method import Batch
from models.methods import build
from models.methods.papc import SIDE as SIDE_SHARES
from models.methods.papc import pseudo_abnormal
from models.methods.proxyano import ProxyAno
from models.methods.proxyano_config import ProxyAnoConfig
from models.nets.memory import Memory

CONFIG = ProxyAnoConfig(widths=(6, 8, 8), latent_dim=5, memory_items=12, discriminator_widths=(4, 6, 8, 8))
SIDE = 32


def make_batch(*, partly_valid: bool) -> Batch:
    draw = torch.Generator().manual_seed(3)
    image = torch.rand(4, 1, SIDE, SIDE, generator=draw)
    valid = torch.ones(4, 1, SIDE, SIDE)
    if partly_valid:
        valid[:, :, :, 24:] = 0
        valid[0, :, :8] = 0
    return Batch(image, (image * 8).floor() / 8, valid)


def make_method(config: ProxyAnoConfig = CONFIG) -> ProxyAno:
    method = build("proxyano", config, seed=1)
    assert isinstance(method, ProxyAno)
    method.activate(method.stages[0].phases[0])
    for seed in range(3):
        method.losses("stage1", "extract", make_batch(partly_valid=False), torch.Generator().manual_seed(seed))
    return method


def double(value: Tensor) -> NDArray[np.float64]:
    return value.detach().double().numpy()


def brute_force(vectors: NDArray[np.float64], items: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.array([np.argmin([np.linalg.norm(z - m) for m in items]) for z in vectors])


def test_equation_2_nearest_item() -> None:
    memory = Memory(12, 5, decay=0.99, revive_below=0.0)
    z = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    memory(z, generator=torch.Generator().manual_seed(1))
    memory.eval()
    vectors = z.permute(0, 2, 3, 1).reshape(-1, 5)
    expected = brute_force(double(vectors), double(memory.items))
    found = memory(z)
    np.testing.assert_array_equal(found.index.flatten().numpy(), expected)
    torch.testing.assert_close(found.latent.permute(0, 2, 3, 1).reshape(-1, 5), memory.items[torch.tensor(expected)])


def test_equation_6_moving_averages() -> None:
    decay = 0.9
    memory = Memory(6, 3, decay=decay, revive_below=0.0)
    first = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(9))
    memory(first, generator=torch.Generator().manual_seed(1))
    count, total, items = double(memory.counts), double(memory.sums), double(memory.items)
    for step in range(4):
        z = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        vectors = double(z.permute(0, 2, 3, 1).reshape(-1, 3))
        nearest = brute_force(vectors, items)
        for i in range(6):
            members = vectors[nearest == i]
            count[i] = count[i] * decay + len(members) * (1 - decay)
            total[i] = total[i] * decay + members.sum(axis=0) * (1 - decay)
            items[i] = total[i] / count[i]
        memory(z, generator=torch.Generator())
    np.testing.assert_allclose(double(memory.counts), count, rtol=1e-5)
    np.testing.assert_allclose(double(memory.items), items, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("partly_valid", [False, True])
def test_equation_7_proxy_loss(partly_valid: bool) -> None:
    method, batch = make_method(), make_batch(partly_valid=partly_valid)
    image = batch.image * batch.valid
    latent = method.extraction.encoder(image)
    items = method.extraction.memory.items
    nearest = brute_force(double(latent.permute(0, 2, 3, 1).reshape(-1, 5)), double(items))
    picked = items[torch.tensor(nearest)].reshape(4, 8, 8, 5).permute(0, 3, 1, 2)
    proxy, valid, cells = (
        double(method.extraction.decoder(picked)),
        double(batch.valid),
        double(batch.valid[..., ::4, ::4]),
    )
    error = (valid * (proxy - double(batch.true_proxy())) ** 2).sum() / valid.sum()
    commitment = (cells * (double(latent) - double(picked)) ** 2).sum() / (cells.sum() * 5)
    named = method.losses("stage1", "extract", batch, torch.Generator().manual_seed(5))
    assert named["proxy"].item() == pytest.approx(error, rel=1e-4)
    assert named["commitment"].item() == pytest.approx(0.25 * commitment, rel=1e-4)


def stage_2_views(method: ProxyAno, batch: Batch) -> tuple[NDArray[np.float64], ...]:
    """Î, Î', M, I and valid as float64, with the draws of generator seed 7."""
    image, proxy = batch.image * batch.valid, batch.true_proxy() * batch.valid
    with torch.no_grad():
        predicted = method.extraction(image, batch.valid)[0] * batch.valid
        altered, mask = pseudo_abnormal(
            image,
            proxy,
            batch.valid,
            torch.Generator().manual_seed(7),
            count=CONFIG.patch_count,
            side=SIDE_SHARES,
            other_image=True,
        )
        both = method.reconstruction(torch.cat((predicted, altered)))
    normal, repaired = both[:4] * batch.valid, both[4:] * batch.valid
    return double(normal), double(repaired), double(mask), double(image), double(batch.valid)


def judged(method: ProxyAno, image: NDArray[np.float64]) -> NDArray[np.float64]:
    """D(image) as probabilities."""
    assert method.discriminator is not None
    with torch.no_grad():
        logits = double(method.discriminator(torch.tensor(image, dtype=torch.float32)))
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("partly_valid", [False, True])
def test_equations_8_to_11_reconstruction_and_repair(partly_valid: bool) -> None:
    method, batch = make_method(), make_batch(partly_valid=partly_valid)
    stage = method.stage("stage2")
    method.activate(stage.phases[1])
    normal, repaired, mask, image, valid = stage_2_views(method, batch)
    n = valid.sum()

    def adversarial(fake: NDArray[np.float64]) -> float:
        return float(0.01 * np.log(1 - judged(method, fake)).mean())

    eq8 = ((normal - image) ** 2).sum() / n + adversarial(normal)
    eq9 = ((repaired - image) ** 2).sum() / n + adversarial(repaired)
    eq10 = ((mask * repaired - mask * image) ** 2).sum() / n + adversarial(mask * repaired)
    named = method.losses("stage2", "reconstruct", batch, torch.Generator().manual_seed(7))

    def total(name: str) -> float:
        return named[name].item() + named[f"{name}_adversarial"].item()

    assert total("reconstruction") == pytest.approx(eq8, rel=1e-4)
    assert total("repair_global") == pytest.approx(0.25 * eq9, rel=1e-4)
    assert total("repair_local") == pytest.approx(0.5 * eq10, rel=1e-4)
    assert sum(value.item() for value in named.values()) == pytest.approx(eq8 + 0.25 * eq9 + 0.5 * eq10, rel=1e-4)


def test_equations_8_to_10_discriminator() -> None:
    method, batch = make_method(), make_batch(partly_valid=True)
    judge = method.stage("stage2").phases[0]
    method.activate(judge)
    normal, repaired, mask, image, _ = stage_2_views(method, batch)
    method.eval()  # spectral norm's power iteration stands still

    def term(real: NDArray[np.float64], fake: NDArray[np.float64]) -> float:
        return -float(np.log(judged(method, real)).mean() + np.log(1 - judged(method, fake)).mean())

    named = method.losses("stage2", "judge", batch, torch.Generator().manual_seed(7))
    assert named["judge_reconstruction"].item() == pytest.approx(term(image, normal), rel=1e-4)
    assert named["judge_repair_global"].item() == pytest.approx(0.25 * term(image, repaired), rel=1e-4)
    assert named["judge_repair_local"].item() == pytest.approx(0.5 * term(mask * image, mask * repaired), rel=1e-4)


def test_local_loss_as_a_mean_over_the_patch() -> None:
    config = ProxyAnoConfig.from_json(CONFIG.to_json() | {"local_mean_over": "patch", "adversarial": False})
    method, batch = make_method(config), make_batch(partly_valid=True)
    method.activate(method.stage("stage2").phases[0])
    _, repaired, mask, image, _ = stage_2_views(method, batch)
    named = method.losses("stage2", "reconstruct", batch, torch.Generator().manual_seed(7))
    assert set(named) == {"reconstruction", "repair_global", "repair_local"}
    assert named["repair_local"].item() == pytest.approx(
        0.5 * (mask * (repaired - image) ** 2).sum() / mask.sum(), rel=1e-4
    )


def test_non_saturating_loss() -> None:
    config = ProxyAnoConfig.from_json(CONFIG.to_json() | {"generator_loss": "non_saturating"})
    method, batch = make_method(config), make_batch(partly_valid=False)
    method.activate(method.stage("stage2").phases[1])
    normal, *_ = stage_2_views(method, batch)
    named = method.losses("stage2", "reconstruct", batch, torch.Generator().manual_seed(7))
    expected = -0.01 * np.log(judged(method, normal)).mean()
    assert named["reconstruction_adversarial"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("partly_valid", [False, True])
def test_equations_12_to_14_scores(partly_valid: bool) -> None:
    method, batch = make_method().eval(), make_batch(partly_valid=partly_valid)
    image, valid = batch.image * batch.valid, double(batch.valid)
    with torch.no_grad():
        proxy = method.extraction(image, batch.valid)[0] * batch.valid
        rebuilt = method.reconstruction(proxy) * batch.valid
        z, z_hat = double(method.extraction.encoder(image)), double(method.extraction.encoder(rebuilt))
    weight = valid[..., ::4, ::4]
    share = valid.mean(axis=(1, 2, 3))
    scores = method.score(batch)
    latent = np.sqrt((weight * (z - z_hat) ** 2).sum(axis=(1, 2, 3)) / share)
    space = np.sqrt((valid * (double(image) - double(rebuilt)) ** 2).sum(axis=(1, 2, 3)) / share)
    np.testing.assert_allclose(double(scores.latent), latent, rtol=1e-4)
    np.testing.assert_allclose(double(scores.image), space, rtol=1e-4)
    np.testing.assert_allclose(double(scores.residual), valid * (double(image) - double(rebuilt)), atol=1e-6)
    np.testing.assert_allclose(double(scores.proxy), double(proxy), atol=1e-6)
    if not partly_valid:
        frobenius = [np.linalg.norm((a - b).ravel()) for a, b in zip(z, z_hat, strict=True)]
        np.testing.assert_allclose(double(scores.latent), frobenius, rtol=1e-4)


def test_stored_values_without_data_do_not_matter() -> None:
    method, batch = make_method().eval(), make_batch(partly_valid=True)
    noise = torch.rand(batch.image.shape, generator=torch.Generator().manual_seed(11))
    other = Batch(torch.where(batch.valid > 0, batch.image, noise), batch.proxy, batch.valid)
    torch.testing.assert_close(method.score(batch).latent, method.score(other).latent, rtol=0, atol=0)


def test_image_scores_look_only_at_scored_pixels() -> None:
    method, batch = make_method().eval(), make_batch(partly_valid=True)
    scored = torch.zeros_like(batch.valid)
    scored[..., 8:16, 8:20] = 1
    scores, plain = (method.score(Batch(batch.image, None, batch.valid, mask)) for mask in (scored, None))
    torch.testing.assert_close(scores.residual, plain.residual, rtol=0, atol=0)
    inside = (double(scores.residual) ** 2 * double(scored)).sum(axis=(1, 2, 3)) / double(scored).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(double(scores.image), np.sqrt(inside), rtol=1e-4)
    assert not torch.equal(scores.latent, plain.latent)
