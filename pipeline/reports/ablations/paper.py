"""What the paper reports of its ablations, and what it claims by them (Zhou et al., TMI 2022, IV-E to IV-G).

Experiments go by the names of ``pipeline/experiments/ablations.py``. Of Figs. 11 and 12 only the numbers that the text
names are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a table or point of a figure."""

    name: str  # of the experiment
    auc: float | None = None  # the paper's; None: not stated
    label: str = ""  # where it is called otherwise than the experiment
    x: float | None = None  # in a figure; None: beside its axis


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A table or a figure on one data set."""

    key: str
    title: str
    dataset: str
    entries: Sequence[Entry]
    axis: str = ""  # of a figure
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper as pairs (better, worse) of experiments: it holds where every pair does."""

    where: str
    text: str
    pairs: Sequence[tuple[str, str]]
    dataset: str = "oct"


def _weights(short: str, own: float) -> list[Entry]:
    values = (0.0, 0.1, 0.25, 0.5, 1.0)
    names = {value: "final" if value == own else f"{short}_{value:g}".replace(".", "_") for value in values}
    return [Entry(name=name, label=f"λ_{short} = {value:g}", x=value) for value, name in names.items()]


_SWEPT = "The paper's figure is lost; it says that 0 is worse."
PRINTED: Sequence[Printed] = (
    Printed(
        key="table_iii",
        title="Table III: which proxy",
        dataset="oct",
        entries=[
            Entry(name="enc_dec", auc=0.783, label="without proxy"),
            Entry(name="proxy_edge", auc=0.804),
            Entry(name="proxy_smooth", auc=0.801),
            Entry(name="proxy_patches", auc=0.796),
            Entry(name="proxy_edge_smooth", auc=0.813),
            Entry(name="proxy_edge_patches", auc=0.815),
            Entry(name="si", auc=0.818, label="superpixel image (SI)"),
        ],
        note="Without memory and repairing loss: the paper's SI has here the figure of 2×EncDec + SI in Table IV.",
    ),
    Printed(
        key="table_iv",
        title="Table IV: which component",
        dataset="oct",
        entries=[
            Entry(name="enc_dec", auc=0.783),
            Entry(name="enc_dec_soft", auc=0.816),
            Entry(name="enc_dec_mem", auc=0.820),
            Entry(name="si", auc=0.818),
            Entry(name="si_mem", auc=0.854),
            Entry(name="si_rep", auc=0.869),
            Entry(name="si_mem_rep", auc=0.916),
            Entry(name="final", auc=0.933),
        ],
        note="mem* is MemAE's soft memory, mem the paper's; all but the last are scored in image space.",
    ),
    *(
        Printed(
            key=f"table_v_{dataset}",
            title="Table V: score in image space and in latent space",
            dataset=dataset,
            entries=[
                Entry(name="si_mem_rep", auc=image, label="image space"),
                Entry(name="final", auc=latent, label="latent feature space"),
            ],
        )
        for dataset, image, latent in (("brain_mri", 0.807, 0.853), ("oct", 0.916, 0.933))
    ),
    Printed(
        key="fig_11",
        title="Fig. 11: memory size",
        dataset="oct",
        axis="items of the memory",
        entries=[
            *(
                Entry(
                    name="si_mem" if items == 128 else f"memory_{items}",
                    auc=0.837 if items == 2048 else None,
                    label=f"{items} items",
                    x=items,
                )
                for items in (16, 32, 64, 128, 256, 512, 1024, 2048)
            ),
            Entry(name="si", auc=0.828, label="no memory"),
        ],
        note="On 2×EncDec + SI + mem, in image space; the paper does not say which row and score it varies.",
    ),
    Printed(
        key="fig_12_global",
        title="Fig. 12: weight of the global repairing loss",
        dataset="oct",
        axis="λ_global, λ_local at 0.5",
        entries=_weights("global", 0.25),
        note=_SWEPT,
    ),
    Printed(
        key="fig_12_local",
        title="Fig. 12: weight of the local repairing loss",
        dataset="oct",
        axis="λ_local, λ_global at 0.25",
        entries=_weights("local", 0.5),
        note=_SWEPT,
    ),
)
_KINDS = ("edge", "smooth", "patches", "edge_smooth", "edge_patches")
_SIZES = (16, 32, 64, 256, 512, 1024, 2048)
CLAIMS: Sequence[Claim] = (
    Claim(
        where="Table III",
        text="every proxy is better than none",
        pairs=[*((f"proxy_{kind}", "enc_dec") for kind in _KINDS), ("si", "enc_dec")],
    ),
    Claim(
        where="Table III",
        text="the superpixel image is the best proxy",
        pairs=[("si", f"proxy_{kind}") for kind in _KINDS],
    ),
    Claim(
        where="Table III",
        text="edges beside a smooth proxy improve it",
        pairs=[("proxy_edge_smooth", "proxy_smooth"), ("proxy_edge_patches", "proxy_patches")],
    ),
    Claim(
        where="Table IV",
        text="a memory improves the auto-encoder",
        pairs=[("enc_dec_soft", "enc_dec"), ("enc_dec_mem", "enc_dec")],
    ),
    Claim(
        where="Table IV",
        text="a memory of nearest items is better than MemAE's",
        pairs=[("enc_dec_mem", "enc_dec_soft")],
    ),
    Claim(
        where="Table IV",
        text="the superpixel image as a proxy improves the auto-encoder",
        pairs=[("si", "enc_dec")],
    ),
    Claim(
        where="Table IV",
        text="the superpixel image improves an auto-encoder with a memory",
        pairs=[("si_mem", "enc_dec_mem")],
    ),
    Claim(where="Table IV", text="the superpixel image alone is better than MemAE", pairs=[("si", "enc_dec_soft")]),
    Claim(where="Table IV", text="the memory improves the Proxy Extraction Module", pairs=[("si_mem", "si")]),
    Claim(
        where="Table IV",
        text="the repairing loss improves the result, without and with the memory",
        pairs=[("si_rep", "si"), ("si_mem_rep", "si_mem")],
    ),
    *(
        Claim(
            where="Table V",
            text="the score in latent space is better than that in image space",
            pairs=[("final", "si_mem_rep")],
            dataset=dataset,
        )
        for dataset in ("brain_mri", "oct")
    ),
    Claim(
        where="Fig. 11",
        text="128 items are better than fewer, more, or no memory",
        pairs=[*(("si_mem", f"memory_{items}") for items in _SIZES), ("si_mem", "si")],
    ),
    Claim(where="Fig. 12", text="leaving the global repairing term out is worse", pairs=[("final", "global_0")]),
    Claim(where="Fig. 12", text="leaving the local repairing term out is worse", pairs=[("final", "local_0")]),
)
