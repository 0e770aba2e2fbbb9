"""Training data in memory."""

import numpy as np
import torch

from models.source import TensorSource


def test_mirrored_flips_images_proxies_and_masks_together_and_back():
    rng = np.random.default_rng(0)
    images, proxies = rng.integers(0, 256, (2, 3, 1, 4, 6), np.uint8)
    valid = rng.integers(0, 2, (3, 4, 6), np.uint8)
    source = TensorSource.from_arrays(images, proxies, valid)
    turned = source.mirrored()
    assert np.array_equal(turned.images.numpy(), images[..., ::-1])
    assert turned.proxies is not None
    assert np.array_equal(turned.proxies.numpy(), proxies[..., ::-1])
    assert turned.valid is not None
    assert np.array_equal(turned.valid.numpy(), valid[..., ::-1])
    assert turned.scored is None
    assert torch.equal(turned.mirrored().images, source.images)
