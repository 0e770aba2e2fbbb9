"""ProxyAno: image → memory → proxy → image, with pseudo-abnormal proxies repaired to normal images.

Zhou et al., "Proxy-bridged Image Reconstruction Network for Anomaly Detection in Medical Images"; equation numbers
are the paper's. Stage 1 trains Enc_p, memory and Dec_p; stage 2 freezes them and trains Enc_g, Dec_g against a
discriminator. Losses are means over valid pixels where the paper writes sums.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models import losses as terms
from models.method import Batch, Method, MethodConfig, Phase, Scores, Stage
from models.methods.contrast import restored, stretched
from models.methods.makers import make_anomalies
from models.methods.papc import pseudo_abnormal
from models.methods.proxyano_config import ProxyAnoConfig
from models.methods.reconstruction import coarse
from models.nets.decoder import Decoder
from models.nets.discriminator import Discriminator
from models.nets.encoder import Encoder
from models.nets.memory import Lookup, Memory


class Extraction(nn.Module):
    """Proxy Extraction Module F_p: Dec_p(G(Enc_p(I)))."""

    def __init__(self, config: ProxyAnoConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config.channels, config.widths, config.latent_dim)
        self.memory = (
            Memory(
                config.memory_items,
                config.latent_dim,
                decay=config.memory_decay,
                revive_below=config.memory_revive_below,
            )
            if config.memory == "nearest"
            else None
        )
        self.decoder = Decoder(
            config.of_proxy, config.widths, config.latent_dim, skips=False, sigmoid=config.head == "sigmoid"
        )

    def forward(
        self, image: Tensor, valid: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Lookup | None]:
        """Predicted proxy (Eq. 3, 7) and what the memory did, if there is one."""
        latent = self.encoder(image)
        if self.memory is None:
            return self.decoder(latent), None
        found = self.memory(latent, generator=generator, valid=coarse(valid, self.encoder.factor).ge(0.5).float())
        return self.decoder(found.latent), found


class Reconstruction(nn.Module):
    """Image Reconstruction Module F_g: Dec_g(Enc_g(P))."""

    def __init__(self, config: ProxyAnoConfig) -> None:
        super().__init__()
        widths = config.reconstruction_widths or config.widths
        self.encoder = Encoder(config.of_proxy, widths, config.latent_dim)
        self.decoder = Decoder(
            config.channels,
            widths,
            config.latent_dim,
            skips=config.reconstruction_skips,
            sigmoid=config.head == "sigmoid",
        )

    def forward(self, proxy: Tensor) -> Tensor:
        """Image of a proxy (Eq. 1)."""
        latent, features = self.encoder.features(proxy)
        image: Tensor = self.decoder(latent, features)
        return image


class _Views(NamedTuple):
    """What stage 2 compares: Î from P̂, Î' from P', and the paste mask M; without a repairing loss Î alone."""

    normal: Tensor
    repaired: Tensor | None
    mask: Tensor


class ProxyAno(Method):
    """The method of the paper; `config` holds every choice, also those the paper leaves open."""

    name: ClassVar[str] = "proxyano"
    config_type: ClassVar[type[MethodConfig]] = ProxyAnoConfig
    config: ProxyAnoConfig

    def __init__(self, config: ProxyAnoConfig) -> None:
        super().__init__()
        self.config = config
        self.extraction = Extraction(config)
        self.reconstruction = Reconstruction(config)
        self.discriminator = Discriminator(config.channels, config.discriminator_widths) if config.adversarial else None
        reconstruct = Phase(name="reconstruct", modules=("reconstruction",))
        judge = Phase(name="judge", modules=("discriminator",))
        self.stages = (
            Stage(name="stage1", phases=(Phase(name="extract", modules=("extraction",)),)),
            Stage(name="stage2", phases=(judge, reconstruct) if config.adversarial else (reconstruct,)),
        )

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eq. 7 (extract); Eq. 8-11 for the reconstruction (reconstruct) and for the discriminator (judge)."""
        batch = self._filled(batch)
        match stage, phase:
            case "stage1", "extract":
                return self._extract(batch, generator)
            case "stage2", "reconstruct":
                return self._reconstruct(batch, self._views(batch, generator))
            case "stage2", "judge":
                with torch.no_grad():
                    views = self._views(batch, generator)
                return self._judge(batch, views)
        raise ValueError(f"proxyano has no phase {phase!r} in stage {stage!r}")

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Stage 1: proxy error (Eq. 7). Stage 2: reconstruction error from the predicted proxy (Eq. 8, first term)."""
        batch = self._filled(batch)
        proxy, _ = self.extraction(batch.image, batch.valid)
        if stage == "stage1":
            return {"proxy": terms.masked_square(proxy, batch.true_proxy(), batch.valid)}
        image = self.reconstruction(self._masked(proxy, batch))
        return {"reconstruction": terms.masked_square(image, batch.image, batch.valid)}

    def diagnostics(self, stage: str) -> dict[str, float]:
        """Perplexity of the memory while it learns."""
        memory = self.extraction.memory
        return {} if memory is None or stage != "stage1" else {"perplexity": memory.perplexity()}

    def _score(self, batch: Batch) -> Scores:
        """Latent score (Eq. 12-13), image-space score ‖I − Î‖_F (Table V) and signed residual (|·| is Eq. 14)."""
        filled = self._filled(batch)
        proxy, _ = self.extraction(filled.image, filled.valid)
        proxy = self._masked(proxy, filled)
        image = self._masked(self.reconstruction(proxy), filled)
        mask = batch.score_mask()
        weight = coarse(mask, self.extraction.encoder.factor)
        difference = self.extraction.encoder(filled.image).float() - self.extraction.encoder(image).float()
        corrected = self.config.area_corrected
        contrast = self.config.contrast
        image = restored(image, contrast)
        residual = (batch.image - image) * batch.valid
        return Scores(
            latent=terms.frobenius(difference, weight, corrected=corrected),
            image=terms.frobenius(residual, mask, corrected=corrected),
            residual=residual,
            reconstruction=image,
            proxy=restored(proxy, contrast),
            map=residual,
        )

    def _filled(self, batch: Batch) -> Batch:
        """What the networks see: contrast stretched, one value wherever there is no data."""
        contrast = self.config.contrast
        image = self._masked(stretched(batch.image, contrast), batch)
        proxy = None if batch.proxy is None else self._masked(stretched(batch.proxy, contrast), batch)
        return Batch(image, proxy, batch.valid, batch.scored)

    def _masked(self, value: Tensor, batch: Batch) -> Tensor:
        """An image with the fill value where there is no data, float32."""
        fill = 0.5 + self.config.contrast * (self.config.invalid_fill - 0.5)
        return torch.where(batch.valid > 0, value.float(), min(max(fill, 0.0), 1.0))

    def _extract(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        proxy, found = self.extraction(batch.image, batch.valid, generator)
        named = {"proxy": terms.masked_square(proxy, batch.true_proxy(), batch.valid)}
        return named if found is None else named | {"commitment": self.config.commitment * found.commitment}

    def _views(self, batch: Batch, generator: torch.Generator) -> _Views:
        with torch.no_grad():
            proxy, _ = self.extraction(batch.image, batch.valid)
            predicted = self._masked(proxy, batch)
        if not self.config.repairs:
            return _Views(self._masked(self.reconstruction(predicted), batch), None, torch.zeros_like(batch.valid))
        altered, mask = self._pseudo_abnormal(batch, predicted, generator)
        if self.config.patch_on == "image":
            with torch.no_grad():
                altered = self._masked(self.extraction(altered, batch.valid)[0], batch)
        images = self._masked_pair(self.reconstruction(torch.cat((predicted, altered))), batch)
        return _Views(images[0], images[1], mask)

    def _pseudo_abnormal(self, batch: Batch, predicted: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What is pasted on, altered, and its mask M: the paper's patches, or what the configured makers draw."""
        config = self.config
        match config.patch_on:
            case "true":
                ground = batch.true_proxy()
            case "predicted":
                ground = predicted
            case _:
                ground = batch.image
        if config.makers:
            places = batch.score_mask()
            return make_anomalies(ground, batch.image, batch.valid, generator, config.lesions(), places=places)
        return pseudo_abnormal(
            batch.image,
            ground,
            batch.valid,
            generator,
            count=config.patch_count,
            side=config.patch_side,
            other_image=config.patch_source == "other",
        )

    def _masked_pair(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        normal, repaired = images.chunk(2)
        return self._masked(normal, batch), self._masked(repaired, batch)

    def _reconstruct(self, batch: Batch, views: _Views) -> dict[str, Tensor]:
        """Eq. 11 with the weights applied; adversarial terms apart."""
        config, image = self.config, batch.image
        over = batch.valid if config.local_mean_over == "image" else views.mask
        named = {"reconstruction": terms.masked_square(views.normal, image, batch.valid)}
        if views.repaired is not None:
            named |= {
                "repair_global": config.lambda_global * terms.masked_square(views.repaired, image, batch.valid),
                "repair_local": config.lambda_local * terms.masked_square(views.repaired, image, views.mask, over),
            }
        if self.discriminator is None:
            return named
        saturating = config.generator_loss == "minimax"
        for name, weight, fake in self._fakes(views):
            adversarial = terms.generator_adversarial(self.discriminator(fake), saturating=saturating)
            named[f"{name}_adversarial"] = weight * config.lambda_adversarial * adversarial
        return named

    def _judge(self, batch: Batch, views: _Views) -> dict[str, Tensor]:
        """The discriminator's side of Eq. 8-10, weighted as in Eq. 11 (λ_g would only scale the whole)."""
        if self.discriminator is None:
            raise ValueError("proxyano without adversarial loss has no phase 'judge'")
        real = self.discriminator(batch.image)
        named: dict[str, Tensor] = {}
        for name, weight, fake in self._fakes(views):
            true = self.discriminator(views.mask * batch.image) if name == "repair_local" else real
            named[f"judge_{name}"] = weight * terms.discriminator_adversarial(true, self.discriminator(fake))
        return named

    def _fakes(self, views: _Views) -> tuple[tuple[str, float, Tensor], ...]:
        config, own = self.config, ("reconstruction", 1.0, views.normal)
        if views.repaired is None:
            return (own,)
        return (
            own,
            ("repair_global", config.lambda_global, views.repaired),
            ("repair_local", config.lambda_local, views.mask * views.repaired),
        )
