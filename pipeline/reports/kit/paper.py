"""What the paper reports (Zhou et al., TMI 2022): results, ablations, and what it claims by them (IV-E to IV-G).

Experiments have the names of ``pipeline/experiments/ablations.py``. Of Figs. 11 and 12 only the numbers that the text
states are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TABLE_I: Mapping[str, Mapping[str, tuple[float, float, float]]] = {  # method → data set → (AUC, ACC, F1)
    "auto_encoder": {"brain_mri": (0.766, 0.714, 0.674), "oct": (0.783, 0.751, 0.669), "idrid": (0.609, 0.589, 0.542)},
    "memae": {"brain_mri": (0.848, 0.789, 0.722), "oct": (0.876, 0.838, 0.652), "idrid": (0.647, 0.592, 0.567)},
    "anogan": {"brain_mri": (0.803, 0.757, 0.691), "oct": (0.846, 0.789, 0.637), "idrid": (0.630, 0.618, 0.579)},
    "f_anogan": {"brain_mri": (0.822, 0.764, 0.675), "oct": (0.882, 0.808, 0.653), "idrid": (0.698, 0.686, 0.637)},
    "ganomaly": {"brain_mri": (0.832, 0.798, 0.667), "oct": (0.916, 0.826, 0.727), "idrid": (0.652, 0.633, 0.658)},
    "sparse_gan": {"brain_mri": (0.835, 0.791, 0.645), "oct": (0.925, 0.841, 0.714), "idrid": (0.663, 0.638, 0.651)},
    "pix2pix": {"brain_mri": (0.796, 0.737, 0.617), "oct": (0.861, 0.818, 0.702), "idrid": (0.632, 0.621, 0.603)},
    "cycle_gan": {"brain_mri": (0.808, 0.752, 0.712), "oct": (0.815, 0.762, 0.675), "idrid": (0.626, 0.613, 0.608)},
    "proxyano": {"brain_mri": (0.853, 0.805, 0.709), "oct": (0.933, 0.849, 0.725), "idrid": (0.701, 0.682, 0.649)},
}
PAPER = TABLE_I["proxyano"]
TABLE_II: Mapping[str, tuple[float, float, float]] = {
    "auto_encoder": (0.601, 0.898, 0.297),
    "f_anogan": (0.549, 0.922, 0.373),
    "ganomaly": (0.430, 0.834, 0.404),
    "sparse_gan": (0.576, 0.995, 0.419),
    "proxyano": (0.568, 1.003, 0.435),
}
"""Method → mean score of normal images, of abnormal images, and their gap, on OCT, each on its own scale."""
TABLE_V: Mapping[str, tuple[float, float]] = {"brain_mri": (0.807, 0.853), "oct": (0.916, 0.933)}
"""Data set → AUC of ProxyAno scored in image space and in latent space."""
LEVELS: Mapping[str, str] = {"brain_mri": "image", "oct": "image", "idrid": "pixel"}  # data set → what the paper judges


@dataclass(frozen=True)
class Entry:
    """One line of a table or point of a figure."""

    name: str  # of the experiment
    auc: float | None = None  # None: the paper does not state it
    label: str = ""  # where it differs from the experiment's
    x: float | None = None  # place on a figure's axis; None: not on the axis


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A table or a figure on one data set."""

    key: str
    title: str
    dataset: str = "oct"
    entries: Sequence[Entry]
    axis: str = ""  # of a figure
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper as pairs (better, worse) of experiments; it holds if every pair does."""

    where: str
    text: str
    pairs: Sequence[tuple[str, str]]
    dataset: str = "oct"


_SIZES = {n: "si_mem" if n == 128 else f"memory_{n}" for n in (16, 32, 64, 128, 256, 512, 1024, 2048)}


def _weights(term: str, own: float, other: str) -> Printed:
    """Fig. 12 for one term of the repairing loss; ``own``: the weight of the final method."""
    weights = (0.0, 0.1, 0.25, 0.5, 1.0)
    names = {value: "final" if value == own else f"{term}_{value:g}".replace(".", "_") for value in weights}
    return Printed(
        key=f"fig_12_{term}",
        title=f"Fig. 12: weight of the {term} repairing loss",
        axis=f"λ_{term}, {other}",
        entries=[Entry(name, label=f"λ_{term} = {value:g}", x=value) for value, name in names.items()],
        note="The paper's figure is lost; it says that 0 is worse.",
    )


PRINTED: Sequence[Printed] = (
    Printed(
        key="table_iii",
        title="Table III: which proxy",
        entries=[
            Entry("enc_dec", 0.783, "without proxy"),
            Entry("proxy_edge", 0.804),
            Entry("proxy_smooth", 0.801),
            Entry("proxy_patches", 0.796),
            Entry("proxy_edge_smooth", 0.813),
            Entry("proxy_edge_patches", 0.815),
            Entry("si", 0.818, "superpixel image (SI)"),
        ],
        note="Without memory and repairing loss: the paper's SI has here the figure of 2×EncDec + SI in Table IV.",
    ),
    Printed(
        key="table_iv",
        title="Table IV: which component",
        entries=[
            Entry("enc_dec", 0.783),
            Entry("enc_dec_soft", 0.816),
            Entry("enc_dec_mem", 0.820),
            Entry("si", 0.818),
            Entry("si_mem", 0.854),
            Entry("si_rep", 0.869),
            Entry("si_mem_rep", 0.916),
            Entry("final", 0.933),
        ],
        note="mem* is MemAE's soft memory, mem the paper's; all but the last are scored in image space.",
    ),
    *(
        Printed(
            key=f"table_v_{dataset}",
            title="Table V: score in image space and in latent space",
            dataset=dataset,
            entries=[Entry("si_mem_rep", image, "image space"), Entry("final", latent, "latent feature space")],
        )
        for dataset, (image, latent) in TABLE_V.items()
    ),
    Printed(
        key="fig_11",
        title="Fig. 11: memory size",
        axis="items of the memory",
        entries=[
            *(Entry(name, 0.837 if n == 2048 else None, f"{n} items", x=n) for n, name in _SIZES.items()),
            Entry("si", 0.828, "no memory"),
        ],
        note="On 2×EncDec + SI + mem, in image space; the paper does not say which row and score it varies.",
    ),
    _weights("global", 0.25, "λ_local at 0.5"),
    _weights("local", 0.5, "λ_global at 0.25"),
)
PROXIES = [f"proxy_{kind}" for kind in ("edge", "smooth", "patches", "edge_smooth", "edge_patches")]
_EDGES = [("proxy_edge_smooth", "proxy_smooth"), ("proxy_edge_patches", "proxy_patches")]
_III, _IV, _LATENT = "Table III", "Table IV", "the score in latent space is better than that in image space"
CLAIMS: Sequence[Claim] = (
    Claim(_III, "every proxy is better than none", [(name, "enc_dec") for name in (*PROXIES, "si")]),
    Claim(_III, "the superpixel image is the best proxy", [("si", name) for name in PROXIES]),
    Claim(_III, "edges beside a smooth proxy improve it", _EDGES),
    Claim(_IV, "a memory improves the auto-encoder", [("enc_dec_soft", "enc_dec"), ("enc_dec_mem", "enc_dec")]),
    Claim(_IV, "a memory of nearest items is better than MemAE's", [("enc_dec_mem", "enc_dec_soft")]),
    Claim(_IV, "the superpixel image as a proxy improves the auto-encoder", [("si", "enc_dec")]),
    Claim(_IV, "the superpixel image improves an auto-encoder with a memory", [("si_mem", "enc_dec_mem")]),
    Claim(_IV, "the superpixel image alone is better than MemAE", [("si", "enc_dec_soft")]),
    Claim(_IV, "the memory improves the Proxy Extraction Module", [("si_mem", "si")]),
    Claim(
        _IV,
        "the repairing loss improves the result, without and with the memory",
        [("si_rep", "si"), ("si_mem_rep", "si_mem")],
    ),
    *(Claim("Table V", _LATENT, [("final", "si_mem_rep")], dataset) for dataset in TABLE_V),
    Claim(
        "Fig. 11",
        "128 items are better than fewer, more, or no memory",
        [("si_mem", name) for name in (*_SIZES.values(), "si") if name != "si_mem"],
    ),
    Claim("Fig. 12", "leaving the global repairing term out is worse", [("final", "global_0")]),
    Claim("Fig. 12", "leaving the local repairing term out is worse", [("final", "local_0")]),
)
