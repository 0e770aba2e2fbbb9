"""All methods by name, in the order in which the benchmark shows them: the paper's first."""

import torch

from models.method import Method, MethodConfig
from models.methods.anogan import AnoGAN
from models.methods.auto_encoder import AutoEncoder
from models.methods.cycle_gan import CycleGAN
from models.methods.denoising import Denoising
from models.methods.f_anogan import FAnoGAN
from models.methods.ganomaly import GANomaly
from models.methods.memae import MemAE
from models.methods.pix2pix import Pix2Pix
from models.methods.proxyano import ProxyAno
from models.methods.segmentation import Segmentation
from models.methods.sparse_gan import SparseGAN
from models.methods.vae import VAE

METHODS: dict[str, type[Method]] = {
    "proxyano": ProxyAno,
    "auto_encoder": AutoEncoder,
    "memae": MemAE,
    "anogan": AnoGAN,
    "f_anogan": FAnoGAN,
    "ganomaly": GANomaly,
    "sparse_gan": SparseGAN,
    "pix2pix": Pix2Pix,
    "cycle_gan": CycleGAN,
    "vae": VAE,
    "denoising": Denoising,
    "segmentation": Segmentation,
}


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
