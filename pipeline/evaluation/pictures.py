"""Pictures of single cases: which images are shown, and a strip of input, proxy, reconstruction, heat and truth."""

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.scoring import Array, Mask
from pipeline.detectors.frozen.heat import heat_colours
from pipeline.detectors.images import BLOCK, enlarge
from pipeline.detectors.network import NetworkMaps
from pipeline.detectors.standardise import CanvasScorer
from pipeline.evaluation.saved import Panel
from pipeline.evaluation.scoreboard import Scoreboard
from pipeline.tiles.loading import tiles_of

SIDE = 256  # px, height of a panel's pictures
SHOWN = 2  # images of each class that are chosen whatever their scores

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One image on one canvas; planes are (H, W) at the method's size, gray values in [0, 1]."""

    gray: Array
    proxy: Array
    reconstruction: Array
    heat: Array  # standardised scores
    truth: Mask | None  # pixels of any lesion at the canvas's full size; None without a mask


Pictures = Mapping[str, Mapping[str, Shown]]
"""Canvas → image id → what is shown."""


def shown_images(scoreboard: Scoreboard, scorers: Mapping[str, CanvasScorer], image_ids: Collection[str]) -> Pictures:
    """Run the method again over a few images, on every canvas."""
    found, inputs = dict[str, dict[str, Shown]](), scoreboard.inputs
    for canvas, scorer in scorers.items():
        images = found.setdefault(canvas, {})
        for block in tiles_of(inputs.tiles, inputs.proxies, canvas=canvas, image_ids=image_ids).blocks(BLOCK):
            scored = scorer.score(block)
            assert isinstance(scored.found, NetworkMaps)
            for row, image_id in enumerate(scored.found.images.images["image_id"].astype(str)):
                planes = scored.found.images.gray[row], scored.found.proxy[row], scored.found.reconstruction[row]
                images[image_id] = Shown(*planes, scored.maps[row], scoreboard.lesion_mask(canvas, image_id))
    return found


def chosen_cases(table: pd.DataFrame, column: str, count: int) -> Iterator[tuple[str, int, pd.Series]]:
    """(kind, number from 1, row of the table), ``count`` of each kind by the score ``column``."""
    test = table[table["split"] == "test"]
    normal = table[(table["label"] == 0) & table["split"].isin(["test", "holdout"])]
    abnormal = test[test["label"] == 1]
    kinds = {
        "found": abnormal.nlargest(count, column),
        "missed": abnormal.nsmallest(count, column),
        "false alarm": normal.nlargest(count, column),
        "ordinary": normal.nsmallest(count, column),
    }
    for kind, rows in kinds.items():
        for number, (_, image) in enumerate(rows.iterrows(), start=1):
            yield kind, number, image


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """``SHOWN`` test images of each class, evenly spaced in the order of their ids, whatever their scores."""
    test = table[table["split"] == "test"].sort_values("image_id")
    parts = []
    for _, rows in test.groupby("klass", sort=True):
        places = np.linspace(0, len(rows) - 1, SHOWN + 2).round().astype(int)[1:-1]
        parts.append(rows.iloc[np.unique(places)])
    return pd.concat(parts).reset_index(drop=True) if parts else test


def case_panels(results: Pictures, table: pd.DataFrame, column: str, count: int) -> list[Panel]:
    """A strip for each of the ``chosen_cases`` on every canvas."""
    panels = []
    for kind, number, image in chosen_cases(table, column, count):
        for canvas, images in results.items():
            title, score = f"{kind} {number}, {canvas}", f"{image['klass']}, score {image[column]:.2f}"
            name = f"{kind.replace(' ', '_')}_{number}_{canvas}.png"
            png = case_png(images[str(image["image_id"])])
            panels.append(Panel(file=name, caption=f"{title}: {score} ({image['image_id']})", png=png))
    return panels


def case_png(image: Shown) -> bytes:
    """One strip; the heat map uses ``HEAT_RANGE``, the lesions are outlined on the input."""
    shown, heat = gray_picture(image.gray), heat_picture(image.heat)
    pictures = {
        "input": shown,
        "predicted proxy": gray_picture(image.proxy),
        "reconstruction": gray_picture(image.reconstruction),
        "score map": heat,
        "on input": cv2.addWeighted(np.repeat(shown[..., None], 3, 2), 0.55, heat, 0.45, 0),
    }
    if image.truth is not None:
        pictures["truth"] = _outlined(shown, image.truth)
    return strip_png(pictures, SIDE)


def heat_picture(scores: Array) -> Picture:
    """Score map (h, w) as colours (h', w', 3) on the fixed ``HEAT_RANGE``."""
    return heat_colours(_sized(scores)).astype(np.uint8)


def _sized(values: Array) -> Array:
    height, width = values.shape
    factor = max(1, SIDE // height)
    return enlarge(values.astype(np.float32), (height * factor, width * factor)) if factor > 1 else values


def gray_picture(values: Array) -> Picture:
    """Values (h, w) in [0, 1] as gray levels (h', w'), enlarged by a whole factor to about ``SIDE`` rows."""
    picture: Picture = (np.clip(_sized(values), 0, 1) * 255).astype(np.uint8)
    return picture


def _outlined(gray: Picture, truth: Mask) -> Picture:
    colour = np.repeat(cv2.resize(gray, truth.shape[::-1])[..., None], 3, 2)
    contours, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined: Picture = cv2.drawContours(np.ascontiguousarray(colour), contours, -1, (255, 60, 60), 2)
    return outlined


def strip_png(pictures: Mapping[str, Picture], height: int = 256) -> bytes:
    """PNG of pictures side by side, (H, W) or (H, W, 3) uint8 each, scaled to one height with its title above."""
    title, gap = 30, 6
    cells = []
    for name, picture in pictures.items():
        image = Image.fromarray(np.ascontiguousarray(picture)).convert("RGB")
        width = max(1, round(image.width * height / image.height))
        cells.append((name, image.resize((width, height), Image.Resampling.BILINEAR)))
    total = sum(image.width + gap for _, image in cells) - gap
    sheet = Image.new("RGB", (total, height + title), "white")
    draw, font, x = ImageDraw.Draw(sheet), ImageFont.load_default(20), 0
    for name, image in cells:
        draw.text((x + 2, 2), name, fill="black", font=font)
        sheet.paste(image, (x, title))
        x += image.width + gap
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
