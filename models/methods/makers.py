"""Anomaly makers: draw synthetic anomalies on batches of normal images or proxies, for training.

The paper pastes patches of another normal image (III-D); the other makers are extensions. A maker changes every image
of a batch once, at a random place and size, with random sign, colour and strength. No real lesion is involved. Kinds
reserved for measuring (`models.synthetic_anomalies.HELD_BACK`) are refused.
Legend: B images, C channels, H, W pixels; draws come from the generator, on the CPU, on any device.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.methods.papc import Draw, Range, pseudo_abnormal
from models.synthetic_anomalies import require_trainable

Weights = Callable[["Ground", Draw], Tensor]
"""A shape: ground, generator → weight (B, H, W) of the lesion in [0, 1]."""
Maker = Callable[["Ground", Draw], tuple[Tensor, Tensor]]
"""Ground, generator → altered images and weights (B, 1, H, W)."""


@dataclass(frozen=True)
class Ground:
    """Images and the place of one lesion in each; rows of all tensors are aligned."""

    image: Tensor  # (B, C, H, W)
    donors: Tensor  # (B, C, H, W) other normal images
    valid: Tensor  # (B, 1, H, W)
    config: "MakerConfig"
    u: Tensor  # (B, H, W) along the lesion's axes, in units of its half-axes
    v: Tensor
    radius: Tensor  # (B,) px, the shorter half-axis
    soft: Tensor  # (B,) width of the edge, in units of the half-axes
    far: Tensor  # (B, H, W) distance from the centre, in units of the half-axes


def dots(ground: Ground, draw: Draw) -> Tensor:
    """A cluster of 3 to 10 small discs."""
    angles, away, sizes = (_uniform(draw, (10, len(ground.u)), ground.u) for _ in range(3))
    wanted = (3 + 8 * _uniform(draw, (len(ground.u),), ground.u)).floor()
    weight = torch.zeros_like(ground.u)
    for number, (turn, reach, size) in enumerate(zip(2 * torch.pi * angles, away.sqrt(), sizes, strict=True)):
        near = torch.hypot(ground.u - _over(reach * turn.cos()), ground.v - _over(reach * turn.sin()))
        disc = _edge(0.12 + 0.2 * _over(size) - near, 0.5 * ground.soft)
        weight = torch.maximum(weight, disc * _over((number < wanted).to(disc.dtype)))
    return weight


def noise(ground: Ground, draw: Draw) -> Tensor:
    """Thresholded smooth noise inside an ellipse: an irregular outline, sometimes several pieces."""
    field = _smooth_noise(ground, draw, cells=6)
    level = _over(0.8 * _uniform(draw, (len(field),), field) - 0.2)
    return _edge(torch.minimum(field - level, 1.3 - ground.far), ground.soft)


SHAPES: Mapping[str, Weights] = {
    "blob": lambda ground, _: _edge(1 - ground.far, ground.soft),  # a filled ellipse
    "ring": lambda ground, _: _edge(0.25 - (ground.far - 0.75).abs(), ground.soft),  # the rim of an ellipse
    "dots": dots,
    "noise": noise,
}


@dataclass(frozen=True, kw_only=True)
class MakerConfig:
    """Kinds, sizes, strengths and number of lesions; radius and strength are log-uniform."""

    makers: tuple[str, ...]  # keys of MAKERS
    radius: Range = (0.03, 0.25)  # half-axes as shares of the image's shorter side
    strength: Range = (0.05, 0.5)  # largest change of a pixel in [0, 1]
    count: tuple[int, int] = (1, 3)  # lesions an image, from and to

    def __post_init__(self) -> None:
        require_trainable(self.makers, "MakerConfig.makers")
        unknown = sorted(set(self.makers) - set(MAKERS))
        if unknown or not self.makers:
            raise ValueError(f"MakerConfig.makers are some of {', '.join(MAKERS)}, got {', '.join(unknown) or 'none'}")
        for name, (low, high) in (("radius", self.radius), ("strength", self.strength)):
            if not 0 < low <= high <= 1:
                raise ValueError(f"MakerConfig.{name} is a range of shares in (0, 1], got {(low, high)}")
        if not 0 <= self.count[0] <= self.count[1]:
            raise ValueError(f"MakerConfig.count is a range (from ≥ 0, to), got {self.count}")


def make_anomalies(
    image: Tensor, donors: Tensor, valid: Tensor, draw: Draw, config: MakerConfig, *, places: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Altered images (B, C, H, W) in [0, 1], and the mask (B, 1, H, W) of pixels with at least half of the change.

    `image` are normal images or normal proxies, `donors` (B, C, H, W) the normal images that patches come from. Each
    lesion draws its maker and is centred on one of the `places` (B, 1, H, W; None: any pixel with data). Pixels without
    data keep their values.
    """
    total = len(image)
    wanted = torch.randint(config.count[0], config.count[1] + 1, (total,), generator=draw)
    altered, mask = image.clone(), torch.zeros_like(valid)
    places = valid if places is None else places
    for number in range(config.count[1]):
        chosen = torch.randint(len(config.makers), (total,), generator=draw)
        for kind, name in enumerate(config.makers):
            rows = ((chosen == kind) & (number < wanted)).nonzero()[:, 0]
            if not len(rows):
                continue
            others = (rows + torch.randint(1, max(total, 2), (len(rows),), generator=draw)) % total
            ground = _ground(altered[rows], donors[others], valid[rows], places[rows], config, draw)
            found, weight = MAKERS[name](ground, draw)
            seen = ground.valid > 0
            altered[rows] = torch.where(seen, found.to(altered.dtype), ground.image)
            mask[rows] = torch.maximum(mask[rows], ((weight >= 0.5) & seen).to(mask.dtype))
    return altered, mask


def _painted(shape: Weights) -> Maker:
    """Maker that adds a shape of random colour, sign and strength, with some texture."""

    def paint(ground: Ground, draw: Draw) -> tuple[Tensor, Tensor]:
        image = ground.image
        total, channels = image.shape[:2]
        weight = shape(ground, draw)[:, None]
        colour = 0.3 + 0.7 * _uniform(draw, (total, channels), image)
        if channels > 1:
            colour = colour * _sign(draw, (total, channels), image, share=0.85)
        colour = colour / colour.abs().amax(dim=1, keepdim=True)
        strength = _log_uniform(draw, ground.config.strength, (total,), image) * _sign(draw, (total,), image, share=0.5)
        texture = 0.4 * _over(_uniform(draw, (total,), image).square()) * _smooth_noise(ground, draw, cells=16)
        change = (_over(strength) * (1 + texture))[:, None] * weight
        return (image + colour[:, :, None, None] * change).clamp(0, 1), weight

    return paint


def patch(ground: Ground, draw: Draw) -> tuple[Tensor, Tensor]:
    """A rectangle of another normal image, as in the paper; it draws its own place."""
    low, high = (min(2 * radius, 1.0) for radius in ground.config.radius)
    given = ground.donors, ground.image, ground.valid, draw
    return pseudo_abnormal(*given, count=(1, 1), side=(low, high), other_image=False)


def bump(ground: Ground, draw: Draw) -> tuple[Tensor, Tensor]:
    """Shift rows up or down around a place, so that layers bulge."""
    image = ground.image
    total, _, height, width = image.shape
    share = 0.3 + 0.9 * _uniform(draw, (total,), image)
    lift = ground.radius * share * _sign(draw, (total,), image, share=0.7)
    bell = torch.exp(-1.5 * (ground.u.square() + ground.v.square()))
    rows = torch.arange(height, device=image.device, dtype=image.dtype)[None, :, None] + _over(lift) * bell
    cols = torch.arange(width, device=image.device, dtype=image.dtype)[None, None, :].expand_as(rows)
    grid = torch.stack((2 * (cols + 0.5) / width - 1, 2 * (rows + 0.5) / height - 1), dim=-1)
    moved = functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
    changed = ((moved - image).abs().amax(dim=1, keepdim=True) > LEAST_CHANGE).to(image.dtype)
    near = functional.max_pool2d(changed, 3, stride=1, padding=1)
    return moved, (bell[:, None] >= 0.3).to(image.dtype) * near


def mass(ground: Ground, draw: Draw) -> tuple[Tensor, Tensor]:
    """Replace tissue by a more uniform level, with an irregular outline and sometimes a rim of another level."""
    image = ground.image
    total, channels = image.shape[:2]
    outline = ground.far + 0.15 * _smooth_noise(ground, draw, cells=6)
    weight = _edge(1 - outline, 0.5 * ground.soft)[:, None]
    mean = (image * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=1e-3)
    strength = _log_uniform(draw, ground.config.strength, (total,), image) * _sign(draw, (total,), image, share=0.5)
    level = mean + strength[:, None]
    rimmed = (_uniform(draw, (total,), image) < 0.4).to(image.dtype)
    core = (_edge(0.65 - outline, ground.soft) * _over(rimmed))[:, None]
    inner = level + (0.6 * _uniform(draw, (total, channels), image) - 0.3)
    texture = 0.08 * _over(_uniform(draw, (total,), image)) * _smooth_noise(ground, draw, cells=16)
    filled = level[:, :, None, None] * (1 - core) + inner[:, :, None, None] * core + texture[:, None]
    dense = 0.6 + 0.4 * _uniform(draw, (total, 1, 1, 1), image)
    return image + (filled.clamp(0, 1) - image) * weight * dense, weight


LEAST_CHANGE = 0.02  # smallest visible change of a pixel in [0, 1] where a layer moved
_PAINTED: dict[str, Maker] = {name: _painted(shape) for name, shape in SHAPES.items()}
MAKERS: Mapping[str, Maker] = _PAINTED | {"patch": patch, "bump": bump, "mass": mass}


def _ground(image: Tensor, donors: Tensor, valid: Tensor, places: Tensor, config: MakerConfig, draw: Draw) -> Ground:
    """A random centre among the `places` (B, 1, H, W), with random half-axes, turn and edge."""
    total, _, height, width = places.shape
    weights = places[:, 0].reshape(total, -1).cpu() + 1e-9
    place = torch.multinomial(weights, 1, generator=draw)[:, 0].to(places.device)
    rows = torch.arange(height, device=places.device, dtype=places.dtype)[None, :, None]
    cols = torch.arange(width, device=places.device, dtype=places.dtype)[None, None, :]
    down = (rows - _over(place // width)).expand(-1, -1, width)
    right = (cols - _over(place % width)).expand(-1, height, -1)
    axes = (_log_uniform(draw, config.radius, (2, total), places) * min(height, width)).clamp(min=0.7)
    turn = torch.pi * _uniform(draw, (total,), places)
    u = (down * _over(turn.cos()) + right * _over(turn.sin())) / _over(axes[0])
    v = (right * _over(turn.cos()) - down * _over(turn.sin())) / _over(axes[1])
    soft = _log_uniform(draw, (0.05, 0.4), (total,), places)
    return Ground(image, donors, valid, config, u, v, axes.amin(dim=0), soft, torch.hypot(u, v))


def _sign(draw: Draw, shape: tuple[int, ...], like: Tensor, *, share: float) -> Tensor:
    """+1 with probability ``share``, else −1."""
    return (_uniform(draw, shape, like) < share).to(like.dtype) * 2 - 1


def _smooth_noise(ground: Ground, draw: Draw, *, cells: int) -> Tensor:
    """Noise (B, H, W) of sd about 1, ``cells`` cells along the shorter side."""
    total, height, width = ground.u.shape
    coarse = torch.randn(total, 1, cells + 2, (cells + 2) * width // height, generator=draw).to(ground.u)
    return functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[:, 0] / 0.7


def _edge(inside: Tensor, soft: Tensor) -> Tensor:
    """0 to 1 over the edge; 0.5 where ``inside`` is 0."""
    return torch.sigmoid(4 * inside / _over(soft))


def _over(values: Tensor) -> Tensor:
    """One value per image, (B,) → (B, 1, 1)."""
    return values[:, None, None]


def _uniform(draw: Draw, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.rand(shape, generator=draw).to(like)


def _log_uniform(draw: Draw, limits: Range, shape: tuple[int, ...], like: Tensor) -> Tensor:
    low, high = torch.tensor(limits).log()
    return torch.exp(low + (high - low) * torch.rand(shape, generator=draw)).to(like)
