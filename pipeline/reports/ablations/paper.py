"""The paper's ablations and what it claims by them (Zhou et al., TMI 2022, IV-E to IV-G).

Experiments have the names of ``pipeline/experiments/ablations.py``. Of Figs. 11 and 12 only the numbers that the text
states are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reports.kit.paper import TABLE_V


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


_COMPONENTS = {
    "enc_dec": 0.783,
    "enc_dec_soft": 0.816,
    "enc_dec_mem": 0.820,
    "si": 0.818,
    "si_mem": 0.854,
    "si_rep": 0.869,
    "si_mem_rep": 0.916,
    "final": 0.933,
}
_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
_WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0)


def _memory(items: int) -> str:
    """Experiment with so many memory items."""
    return "si_mem" if items == 128 else f"memory_{items}"


def _weights(term: str, own: float, other: str) -> Printed:
    """Fig. 12 for one term of the repairing loss; ``own``: the weight of the final method."""
    names = {value: "final" if value == own else f"{term}_{value:g}".replace(".", "_") for value in _WEIGHTS}
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
        entries=[Entry(name, auc) for name, auc in _COMPONENTS.items()],
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
            *(Entry(_memory(n), 0.837 if n == 2048 else None, f"{n} items", x=n) for n in _SIZES),
            Entry("si", 0.828, "no memory"),
        ],
        note="On 2×EncDec + SI + mem, in image space; the paper does not say which row and score it varies.",
    ),
    _weights("global", 0.25, "λ_local at 0.5"),
    _weights("local", 0.5, "λ_global at 0.25"),
)
_PROXIES = [f"proxy_{kind}" for kind in ("edge", "smooth", "patches", "edge_smooth", "edge_patches")]
CLAIMS: Sequence[Claim] = (
    Claim("Table III", "every proxy is better than none", [(name, "enc_dec") for name in (*_PROXIES, "si")]),
    Claim("Table III", "the superpixel image is the best proxy", [("si", name) for name in _PROXIES]),
    Claim(
        "Table III",
        "edges beside a smooth proxy improve it",
        [("proxy_edge_smooth", "proxy_smooth"), ("proxy_edge_patches", "proxy_patches")],
    ),
    Claim(
        "Table IV",
        "a memory improves the auto-encoder",
        [("enc_dec_soft", "enc_dec"), ("enc_dec_mem", "enc_dec")],
    ),
    Claim("Table IV", "a memory of nearest items is better than MemAE's", [("enc_dec_mem", "enc_dec_soft")]),
    Claim("Table IV", "the superpixel image as a proxy improves the auto-encoder", [("si", "enc_dec")]),
    Claim("Table IV", "the superpixel image improves an auto-encoder with a memory", [("si_mem", "enc_dec_mem")]),
    Claim("Table IV", "the superpixel image alone is better than MemAE", [("si", "enc_dec_soft")]),
    Claim("Table IV", "the memory improves the Proxy Extraction Module", [("si_mem", "si")]),
    Claim(
        "Table IV",
        "the repairing loss improves the result, without and with the memory",
        [("si_rep", "si"), ("si_mem_rep", "si_mem")],
    ),
    *(
        Claim(
            "Table V",
            "the score in latent space is better than that in image space",
            [("final", "si_mem_rep")],
            dataset,
        )
        for dataset in TABLE_V
    ),
    Claim(
        "Fig. 11",
        "128 items are better than fewer, more, or no memory",
        [*(("si_mem", _memory(items)) for items in _SIZES if items != 128), ("si_mem", "si")],
    ),
    Claim("Fig. 12", "leaving the global repairing term out is worse", [("final", "global_0")]),
    Claim("Fig. 12", "leaving the local repairing term out is worse", [("final", "local_0")]),
)
