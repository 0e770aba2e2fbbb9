"""Pictures of single cases: which images are shown, and a strip of input, proxy, reconstruction, heat and truth."""

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.scoring import Array, Mask
from pipeline.detectors.frozen.heat import hatched, heat_colours
from pipeline.detectors.images import BLOCK, enlarge, stitched
from pipeline.detectors.network import NetworkMaps
from pipeline.detectors.standardise import CanvasScorer
from pipeline.evaluation.carried import Carried, Result
from pipeline.evaluation.saved import Panel
from pipeline.evaluation.scoreboard import SCORED_SPLITS, Scoreboard
from pipeline.store.versions import fingerprint
from pipeline.tiles.loading import tile_blocks

SIDE = 256  # px, height of a panel's pictures
SHOWN = 2  # images of each class that are chosen whatever their scores

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One image on one canvas; planes are (H, W) at the method's size, gray values in [0, 1]."""

    original: Picture  # the canvas at full size, (H, W) or (H, W, 3)
    gray: Array
    proxy: Array
    reconstruction: Array
    heat: Array  # standardised scores
    scored: Mask  # where the image was looked at
    truth: Mask | None  # pixels of any lesion at the canvas's full size; None without a mask


@dataclass(frozen=True)
class ShownImages:
    """Draws a few images; the method runs again over those that were not drawn by an earlier evaluation."""

    scoreboard: Scoreboard
    scorers: Mapping[str, CanvasScorer]  # of the method, by canvas
    carried: Carried
    recipe: str
    known: dict[tuple[str, str], Shown] = field(default_factory=dict)  # (canvas, image id)

    def drawn(
        self, what: str, canvas: str, image_ids: Iterable[str], draw: Callable[[Shown], Result]
    ) -> dict[str, Result]:
        """Image id → what ``draw`` makes of it; ``what`` names the function among those of this evaluation."""
        digests = self.scoreboard.inputs.digests.of(*SCORED_SPLITS, canvas=canvas)
        keys = {image_id: f"{self.recipe}/{what}/{fingerprint(canvas, digests[image_id])}" for image_id in image_ids}

        def make(missing: list[str]) -> Iterator[tuple[str, Result]]:
            if unknown := [image_id for image_id in missing if (canvas, image_id) not in self.known]:
                self._run(canvas, unknown)
            yield from ((image_id, draw(self.known[canvas, image_id])) for image_id in missing)

        return self.carried.each(keys, make)

    def _run(self, canvas: str, image_ids: Collection[str]) -> None:
        inputs = self.scoreboard.inputs
        blocks = tile_blocks(
            inputs.tiles, inputs.proxies, splits=SCORED_SPLITS, count=BLOCK, canvas=canvas, image_ids=image_ids
        )
        for block in blocks:
            found, maps, _ = self.scorers[canvas].score(block)
            assert isinstance(found, NetworkMaps)
            whole = stitched(block, canvas).pixels
            for row, image_id in enumerate(found.images.images["image_id"].astype(str)):
                images = found.images.gray[row], found.proxy[row], found.reconstruction[row]
                planes = *images, maps[row], found.images.scored[row]
                truth = self.scoreboard.lesion_mask(canvas, image_id)
                self.known[canvas, image_id] = Shown(colours(whole[row]), *planes, truth)


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


def case_panels(shown: ShownImages, table: pd.DataFrame, column: str, count: int) -> list[Panel]:
    """A strip for each of the ``chosen_cases`` on every canvas."""
    panels, cases = [], list(chosen_cases(table, column, count))
    image_ids = list(dict.fromkeys(image["image_id"] for _, _, image in cases))
    strips = {canvas: shown.drawn("panel", canvas, image_ids, _panel) for canvas in shown.scorers}
    for kind, number, image in cases:
        for canvas, drawn in strips.items():
            title, score = f"{kind} {number}, {canvas}", f"{image['klass']}, score {image[column]:.2f}"
            name = f"{kind.replace(' ', '_')}_{number}_{canvas}.png"
            png = drawn[image["image_id"]].arrays["png"].tobytes()
            panels.append(Panel(file=name, caption=f"{title}: {score} ({image['image_id']})", png=png))
    return panels


def _panel(image: Shown) -> Result:
    return of_files({"png": case_png(image)})


def of_files(files: Mapping[str, bytes]) -> Result:
    """The bytes of files as a result."""
    return Result(arrays={name: np.frombuffer(data, np.uint8) for name, data in files.items()})


def case_png(image: Shown) -> bytes:
    """One strip; the heat map uses ``HEAT_RANGE`` and is hatched where nothing is scored; lesions are outlined."""
    shown = gray_picture(image.gray)
    unseen = cv2.resize((~image.scored).astype(np.uint8), shown.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    heat: Picture = hatched(heat_picture(image.heat), unseen).astype(np.uint8)
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


def codes(values: Array) -> Picture:
    """Values in [0, 1], others clipped, as gray levels."""
    levels: Picture = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return levels


def colours(pixels: Array) -> Picture:
    """Pixels (C, H, W) in [0, 1] as a picture: (H, W, 3) where there are three channels, else (H, W)."""
    return np.ascontiguousarray(codes(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]))


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
    sheet.save(buffer, "PNG", compress_level=3)  # half the time of 6 for 3 % more bytes
    return buffer.getvalue()
