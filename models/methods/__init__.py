"""All methods by name, in the order in which the benchmark shows them: the paper's first."""

import torch

from models.method import Method, MethodConfig
from models.methods.adversarial_auto_encoders import GANomaly, SparseGAN
from models.methods.anogan import AnoGAN, FAnoGAN
from models.methods.auto_encoders import VAE, AutoEncoder, Denoising, MemAE
from models.methods.proxyano import ProxyAno
from models.methods.segmentation import Segmentation
from models.methods.translation import CycleGAN, Pix2Pix

_BASELINES = AutoEncoder, MemAE, AnoGAN, FAnoGAN, GANomaly, SparseGAN, Pix2Pix, CycleGAN, VAE, Denoising, Segmentation
METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (ProxyAno, *_BASELINES)}


def build(name: str, config: MethodConfig, *, seed: int) -> Method:
    """A new method with weights drawn from the seed; the global generator stays as it is."""
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; there are {', '.join(sorted(METHODS))}")
    kind = METHODS[name]
    if not isinstance(config, kind.config_type):
        raise ValueError(f"{name} takes a {kind.config_type.__name__}, got a {type(config).__name__}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config)
