"""ProxyAno: image → memory → proxy → image, with pseudo-abnormal proxies repaired to normal images.

Zhou et al., "Proxy-bridged Image Reconstruction Network for Anomaly Detection in Medical Images"; equation numbers
are the paper's. Stage 1 trains Enc_p, memory and Dec_p; stage 2 freezes them and trains Enc_g, Dec_g against a
discriminator. Losses are means over valid pixels where the paper writes sums.
"""

from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from models import losses as terms
from models import ranks
from models.method import Batch, Method, MethodConfig, Phase, Scores, Stage
from models.methods.makers import make_anomalies
from models.methods.papc import SIDE, pseudo_abnormal
from models.methods.proxyano_config import ProxyAnoConfig
from models.nets.encoder_decoder import EncoderDecoder, MemoryEncoderDecoder, coarse
from models.nets.memory import Lookup, Memory
from models.nets.translation import PatchGAN

LAMBDA_ADVERSARIAL = 0.01
"""λ_g of Eq. 8-10 (stated)."""
_MIDDLE = 0.5  # gray value about which contrast is stretched
_EXTRACT = Stage(name="stage1", phases=(Phase(name="extract", modules=("extraction",)),))
_JUDGE = Phase(name="judge", modules=("discriminator",))
_RECONSTRUCT = Phase(name="reconstruct", modules=("reconstruction",))


class _Views(NamedTuple):
    """What stage 2 compares: Î from P̂, Î' from P', and the paste mask M; without a repairing loss only Î."""

    normal: Tensor
    repaired: Tensor | None
    mask: Tensor


class ProxyAno(Method):
    """The method of the paper; `config` holds its choices, also those that the paper leaves open."""

    name: ClassVar[str] = "proxyano"
    label: ClassVar[str] = "ProxyAno"
    config_type: ClassVar[type[MethodConfig]] = ProxyAnoConfig
    stages = (_EXTRACT, Stage(name="stage2", phases=(_JUDGE, _RECONSTRUCT)))
    config: ProxyAnoConfig

    def __init__(self, config: ProxyAnoConfig) -> None:
        super().__init__(config)
        image, proxy, widths, dim = config.channels, config.of_proxy, config.widths, config.latent_dim
        revival = {"decay": config.memory_decay, "revive_below": config.memory_revive_below}
        memory = partial(Memory, config.memory_items, dim, **revival) if config.memory == "nearest" else None
        self.extraction = MemoryEncoderDecoder(image, proxy, widths, dim, memory)  # F_p: Dec_p(G(Enc_p(I))), Eq. 3
        widths, skips = config.reconstruction_widths or widths, config.reconstruction_skips
        self.reconstruction = EncoderDecoder(proxy, image, widths, dim, skips=skips)  # F_g: Dec_g(Enc_g(P)), Eq. 1
        self.discriminator = None
        if config.adversarial:
            self.discriminator = PatchGAN(config.channels, config.discriminator_widths, norm="spectral")
        else:
            self.stages = (_EXTRACT, Stage(name="stage2", phases=(_RECONSTRUCT,)))

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Stage 1: proxy error (Eq. 7). Stage 2: reconstruction error from the predicted proxy (Eq. 8, first term)."""
        batch = self._stretched(batch)
        proxy, _ = self.extraction(batch.image, batch.valid)
        if stage == "stage1":
            return {"proxy": terms.masked_square(proxy, batch.true_proxy(), batch.valid)}
        image = self.reconstruction(self.masked(proxy, batch))
        return {"reconstruction": terms.masked_square(image, batch.image, batch.valid)}

    def diagnostics(self, stage: str) -> dict[str, float]:
        """Perplexity of the memory while it learns."""
        memory = self.extraction.memory
        return {"perplexity": memory.perplexity()} if isinstance(memory, Memory) and stage == "stage1" else {}

    def _score(self, batch: Batch) -> Scores:
        """Latent score (Eq. 12-13), image-space score ‖I − Î‖_F (Table V) and signed residual (|·| is Eq. 14)."""
        seen = self._stretched(batch)
        proxy = self.masked(self.extraction(seen.image, seen.valid)[0], seen)
        image = self.masked(self.reconstruction(proxy), seen)
        mask = batch.score_mask()
        difference = self.extraction.encoder(seen.image).float() - self.extraction.encoder(image).float()
        image, proxy = self._restored(image), self._restored(proxy)
        residual = (batch.image - image) * batch.valid
        latent = terms.frobenius(difference, coarse(mask, self.extraction.encoder.factor))
        own = terms.frobenius(residual, mask)
        return Scores(latent=latent, image=own, residual=residual, reconstruction=image, proxy=proxy, map=residual)

    def masked(self, value: Tensor, batch: Batch) -> Tensor:
        """As for all methods, but the fill value has the contrast that the networks see."""
        fill = _MIDDLE + self.config.contrast * (self.config.invalid_fill - _MIDDLE)
        return torch.where(batch.valid > 0, value.float(), min(max(fill, 0.0), 1.0))

    def _stretched(self, batch: Batch) -> Batch:
        """What the networks see: distances to mid-gray times the contrast, clipped to [0, 1]."""
        contrast = self.config.contrast

        def stretch(image: Tensor) -> Tensor:
            return self.masked((_MIDDLE + contrast * (image - _MIDDLE)).clamp(0, 1), batch)

        return batch if contrast == 1 else batch.changed(stretch, lambda mask: mask)

    def _restored(self, image: Tensor) -> Tensor:
        """Inverse of the stretch, except for clipped values."""
        contrast = self.config.contrast
        return image if contrast == 1 else _MIDDLE + (image - _MIDDLE) / contrast

    def _extract(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eq. 7, and the commitment term of the memory."""
        batch = self._stretched(batch)
        proxy, found = self.extraction(batch.image, batch.valid, generator)
        named = {"proxy": terms.masked_square(proxy, batch.true_proxy(), batch.valid)}
        if isinstance(found, Lookup):
            named["commitment"] = self.config.commitment * found.commitment
        return named

    def _reconstruct(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eq. 8-11 with the weights applied; adversarial terms are separate."""
        batch = self._stretched(batch)
        views = self._views(batch, generator)
        config, image = self.config, batch.image
        over = batch.valid if config.local_mean_over == "image" else views.mask
        named = {"reconstruction": terms.masked_square(views.normal, image, batch.valid)}
        if views.repaired is not None:
            whole = terms.masked_square(views.repaired, image, batch.valid)
            local = terms.masked_square(views.repaired, image, views.mask, over)
            named |= {"repair_global": config.lambda_global * whole, "repair_local": config.lambda_local * local}
        if self.discriminator is None:
            return named
        saturating = config.generator_loss == "minimax"
        for name, weight, fake in self._fakes(views):
            adversarial = terms.generator_adversarial(self.discriminator(fake), saturating=saturating)
            named[f"{name}_adversarial"] = weight * LAMBDA_ADVERSARIAL * adversarial
        return named

    def _judge(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The discriminator's side of Eq. 8-10, weighted as in Eq. 11 (λ_g would only scale the whole)."""
        assert self.discriminator is not None
        batch = self._stretched(batch)
        with torch.no_grad():
            views = self._views(batch, generator)
        real = self.discriminator(batch.image)
        named = dict[str, Tensor]()
        for name, weight, fake in self._fakes(views):
            true = self.discriminator(views.mask * batch.image) if name == "repair_local" else real
            named[f"judge_{name}"] = weight * terms.discriminator_adversarial(true, self.discriminator(fake))
        return named

    def _views(self, batch: Batch, generator: torch.Generator) -> _Views:
        with torch.no_grad():
            predicted = self.masked(self.extraction(batch.image, batch.valid)[0], batch)
        if not self.config.repairs:
            return _Views(self.masked(self.reconstruction(predicted), batch), None, torch.zeros_like(batch.valid))
        whole = self._pseudo_abnormal(batch.changed(ranks.everyone, ranks.everyone), generator)  # patches of others
        altered, mask = (ranks.mine(value) for value in whole)
        if self.config.patch_on == "image":
            with torch.no_grad():
                altered = self.masked(self.extraction(altered, batch.valid)[0], batch)
        normal, repaired = self.reconstruction(torch.cat((predicted, altered))).chunk(2)
        return _Views(self.masked(normal, batch), self.masked(repaired, batch), mask)

    def _pseudo_abnormal(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The altered proxy or image, and its mask M: the paper's patches, or the lesions of the configured makers."""
        config = self.config
        ground = batch.true_proxy() if config.patch_on == "true" else batch.image
        if config.makers:
            places = batch.score_mask()
            return make_anomalies(ground, batch.image, batch.valid, generator, config.lesions(), places=places)
        given = batch.image, ground, batch.valid, generator
        return pseudo_abnormal(*given, count=config.patch_count, side=SIDE, other_image=True)

    def _fakes(self, views: _Views) -> tuple[tuple[str, float, Tensor], ...]:
        """Name, weight of Eq. 11 and image of each reconstruction that the discriminator sees."""
        own = ("reconstruction", 1.0, views.normal)
        if views.repaired is None:
            return (own,)
        whole = ("repair_global", self.config.lambda_global, views.repaired)
        return own, whole, ("repair_local", self.config.lambda_local, views.mask * views.repaired)
