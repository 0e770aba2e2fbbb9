"""Images that an evaluation shows: what the method saw, predicted and scored."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from models.scoring import Array, Mask
from pipeline.detectors.images import BLOCK
from pipeline.detectors.network import NetworkMaps
from pipeline.detectors.standardise import CanvasScorer
from pipeline.evaluation.scoreboard import Scoreboard
from pipeline.tiles.loading import tiles_of


@dataclass(frozen=True)
class Shown:
    """One image on one canvas; planes are (H, W) at the method's size, gray values in [0, 1]."""

    gray: Array
    proxy: Array
    reconstruction: Array
    heat: Array  # standardised scores
    truth: Mask | None  # pixels of any lesion at the canvas's full size; None without a mask


@dataclass(frozen=True)
class CanvasPictures:
    """The shown images of one canvas by their ids."""

    canvas: str
    images: Mapping[str, Shown]


def shown_images(
    scoreboard: Scoreboard, scorers: Mapping[str, CanvasScorer], image_ids: Collection[str]
) -> list[CanvasPictures]:
    """Run the method again over a few images, on every canvas."""
    found, inputs = [], scoreboard.inputs
    for canvas, scorer in scorers.items():
        images = {}
        for block in tiles_of(inputs.tiles, inputs.proxies, canvas=canvas, image_ids=image_ids).blocks(BLOCK):
            scored = scorer.score(block)
            assert isinstance(scored.found, NetworkMaps)
            for row, image_id in enumerate(scored.found.images.images["image_id"].astype(str)):
                planes = scored.found.images.gray[row], scored.found.proxy[row], scored.found.reconstruction[row]
                images[image_id] = Shown(*planes, scored.maps[row], scoreboard.lesion_mask(canvas, image_id))
        found.append(CanvasPictures(canvas, images))
    return found
