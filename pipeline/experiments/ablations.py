"""The ablations: frozen rows, each changing one thing in another row, its neighbour.

They are those of the paper (Tables III to V, Figs. 11 and 12). All rows have one budget of optimiser steps: an
encoder-decoder spends it in its one stage, ProxyAno half in each of its two. The change of a row is found by comparing
whole configurations (``differences``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from models.method import MethodConfig
from models.methods.auto_encoders import MemAEConfig
from models.methods.proxyano_config import ProxyAnoConfig
from pipeline.experiments.benchmark import Budget, Sizes
from pipeline.experiments.lane import Ablation, Canvases, plan
from pipeline.tiles.proxy_kinds import TITLES, ProxyConfig
from pipeline.training import CanvasTraining

ITEMS = 128  # of every memory except in Fig. 11
MEMORIES = (16, 32, 64, 256, 512, 1024, 2048)  # of Fig. 11, beside ITEMS
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0)  # of Fig. 12, with the paper's own


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment as a change of its neighbour."""

    label: str  # for people
    against: str = ""  # name of the neighbour; empty for the first row
    method: str = ""  # another method, without the parts that the paper adds row by row
    proxy: Mapping[str, Any] = field(default_factory=dict)  # changed fields of the proxies' configuration
    model: Mapping[str, Any] = field(default_factory=dict)  # changed fields of the method's configuration
    score: str = ""  # another of the method's scores


def _swept(name: str, label: str, own: float) -> dict[str, Row]:
    short = name.removeprefix("lambda_")
    return {
        f"{short}_{value:g}".replace(".", "_"): Row(label=f"{label} = {value:g}", against="final", model={name: value})
        for value in WEIGHTS
        if value != own
    }


_OWN = ProxyAnoConfig()
_REPAIRING = {"lambda_global": _OWN.lambda_global, "lambda_local": _OWN.lambda_local}
ROWS: Mapping[str, Row] = {  # the name is the partition
    "enc_dec": Row(label="EncDec", method="auto_encoder", score="image"),
    "enc_dec_soft": Row(label="EncDec + mem*", against="enc_dec", method="memae"),
    "enc_dec_mem": Row(label="EncDec + mem", against="enc_dec_soft", model={"memory": "nearest"}),
    "si": Row(label="2×EncDec + SI", against="enc_dec", method="proxyano"),
    "si_mem": Row(label="2×EncDec + SI + mem", against="si", model={"memory": "nearest"}),
    "si_rep": Row(label="2×EncDec + SI + rep", against="si", model=_REPAIRING),
    "si_mem_rep": Row(label="2×EncDec + SI + mem + rep", against="si_mem", model=_REPAIRING),
    "final": Row(label="2×EncDec + SI + mem + rep + lat", against="si_mem_rep", score="latent"),
    **{
        f"proxy_{kind}": Row(label=title, against="si", proxy={"kind": kind})
        for kind, title in TITLES.items()
        if kind != ProxyConfig().kind
    },
    **{f"memory_{n}": Row(label=f"{n} items", against="si_mem", model={"memory_items": n}) for n in MEMORIES},
    **_swept("lambda_global", "λ_global", _OWN.lambda_global),
    **_swept("lambda_local", "λ_local", _OWN.lambda_local),
}
DECIDING = ("enc_dec", "si", "si_mem", "si_rep", "si_mem_rep", "final")  # also run without the canonical form
SEEDED = {*DECIDING, "enc_dec_soft", "enc_dec_mem", "global_0", "local_0"}
SEEDED |= {name for name in ROWS if name.startswith(("proxy_", "memory_"))}
"""Rows that are run with every seed: those that claims of the paper compare."""
SEED = "-seed"  # before the seed in a name
BOTH_SCORES = ("si_mem_rep", "final")  # rows of Table V for brain MRI


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field in which two experiments differ; None if an experiment has no such field."""

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        values = (f"{one:g}" if isinstance(one, float) else str(one) for one in (self.before, self.after))
        return f"{self.name} {' → '.join(values)}"


def ablations(
    canvases: Canvases, budget: Budget, sizes: Sizes, *, names: Iterable[str] = ROWS, seeds: Sequence[int] = (0,)
) -> dict[str, Ablation]:
    """The rows ``names`` on the canvases.

    ``SEEDED`` rows come once per seed, with later seeds in the name; all others have the first seed. A row whose
    neighbour is not selected has none; a row that changes nothing at these sizes is left out.
    """
    wanted = tuple(names)
    made: dict[str, Ablation] = {}
    for number, seed in enumerate(seeds):
        for name in wanted if number == 0 else [name for name in wanted if name in SEEDED]:
            row = _made(name, canvases, budget, sizes)
            end = f"{SEED}{seed}" if number else ""
            row = replace(row, seed=seed, against=row.against + end if row.against in wanted else "")
            if not row.against or _alone(made[row.against]) != _alone(row):
                made[name + end] = row
    return made


def _alone(row: Ablation) -> Ablation:
    """The row without its name and neighbour."""
    return replace(row, label="", against="")


def seedless(name: str) -> str:
    """Name of the row without its seed."""
    return name.partition(SEED)[0]


def _made(name: str, canvases: Canvases, budget: Budget, sizes: Sizes) -> Ablation:
    chain = [ROWS[name]]
    while chain[0].against:
        chain.insert(0, ROWS[chain[0].against])
    method, score, model, proxies = "", "", MethodConfig(), ProxyConfig()
    for row in chain:
        if row.method:
            method, model = row.method, _bare(row.method, sizes)
        proxies, score = replace(proxies, **row.proxy), row.score or score
        model = replace(model, **row.model)
    every = max(1, min(100, budget.steps // 8))  # evaluated equally often in all rows
    budgets = budget.stages(method).items()
    stages = {stage: replace(one, evaluate_every=every, checkpoint_every=every) for stage, one in budgets}
    return Ablation(
        label=chain[-1].label,
        training=plan(method, canvases, model, stages),
        proxies=proxies,
        score=score,
        against=chain[-1].against,
    )


def _bare(method: str, sizes: Sizes) -> MethodConfig:
    """A method at the lane's sizes, without the parts that the paper adds row by row."""
    model = sizes.model(method)
    if isinstance(model, ProxyAnoConfig):
        return replace(model, memory_items=ITEMS, memory="none", lambda_global=0.0, lambda_local=0.0)
    return replace(model, memory_items=ITEMS) if isinstance(model, MemAEConfig) else model


def differences(before: Ablation, after: Ablation) -> list[Change]:
    """Every field in which two experiments differ."""
    one, other = described(before), described(after)
    pairs = {name: (one.get(name), other.get(name)) for name in one | other}
    return [Change(name=name, before=a, after=b) for name, (a, b) in pairs.items() if a != b]


def changes(row: Ablation, rows: Mapping[str, Ablation]) -> list[Change]:
    """Changes of a row against its neighbour, without fields that only one of their methods or proxies has."""
    if not row.against:
        return []
    found = differences(rows[row.against], row)
    return [change for change in found if change.before is not None and change.after is not None]


def described(row: Ablation) -> dict[str, Any]:
    """A whole experiment as field → value; fields that are equal on all canvases are listed once."""
    found: dict[str, Any] = {"method": row.training.method, "score": row.score, "seed": row.seed}
    found |= {f"proxies.{name}": value for name, value in row.proxies.to_json().items()}
    canvases = {canvas: _of_canvas(own) for canvas, own in row.training.canvases.items()}
    for name in next(iter(canvases.values())):
        values = {canvas: own[name] for canvas, own in canvases.items()}
        alike = len(set(map(repr, values.values()))) == 1
        found |= {name: next(iter(values.values()))} if alike else {f"{c}.{name}": v for c, v in values.items()}
    return found


def _of_canvas(plan: CanvasTraining) -> dict[str, Any]:
    first = asdict(next(iter(plan.stages.values())))
    found = {"size": plan.size, "steps": " + ".join(str(stage.steps) for stage in plan.stages.values())}
    found |= {f"training.{name}": value for name, value in first.items() if name != "steps"}
    return found | {f"model.{name}": value for name, value in asdict(plan.model).items()}
