"""The paper's ablations: frozen rows, each its neighbour with one thing changed (Tables III to V, Figs. 11 and 12).

All rows have one budget of optimiser steps: an encoder-decoder spends it in its one stage, ProxyAno half in each of
its two. What a row differs in is found by comparing whole configurations (``differences``), not written down.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from models.method import MethodConfig
from models.methods.auto_encoder import AutoEncoderConfig
from models.methods.memae import MemAEConfig
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from pipeline.experiments.benchmark import Budget, Sizes
from pipeline.experiments.preset import Ablation
from pipeline.steps.errors import ConfigError
from pipeline.steps.proxy_kinds import TITLES, ProxyConfig
from pipeline.steps.training import CanvasTraining, TrainingPlan

ITEMS = 128  # of every memory but those of Fig. 11
MEMORIES = (16, 32, 64, 256, 512, 1024, 2048)  # beside ITEMS
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0)  # of Fig. 12, the paper's own among them


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment as a change of another."""

    label: str  # for people
    against: str = ""  # its neighbour; empty: the first
    method: str = ""  # another method, with the paper's parts taken out
    proxy: str = ""  # another kind
    model: Mapping[str, Any] = field(default_factory=dict)  # other fields of the method's configuration
    score: str = ""  # another of the method's scores


def _swept(name: str, label: str, own: float) -> dict[str, Row]:
    short = name.removeprefix("lambda_")
    return {
        f"{short}_{value:g}".replace(".", "_"): Row(label=f"{label} = {value:g}", against="final", model={name: value})
        for value in WEIGHTS
        if value != own
    }


_OWN = ProxyAnoConfig()
ROWS: Mapping[str, Row] = {
    "enc_dec": Row(label="EncDec", method="auto_encoder", score="image"),
    "enc_dec_soft": Row(label="EncDec + mem*", against="enc_dec", method="memae"),
    "enc_dec_mem": Row(label="EncDec + mem", against="enc_dec_soft", model={"memory": "nearest"}),
    "si": Row(label="2×EncDec + SI", against="enc_dec", method="proxyano"),
    "si_mem": Row(label="2×EncDec + SI + mem", against="si", model={"memory": "nearest"}),
    "si_rep": Row(
        label="2×EncDec + SI + rep",
        against="si",
        model={"lambda_global": _OWN.lambda_global, "lambda_local": _OWN.lambda_local},
    ),
    "si_mem_rep": Row(
        label="2×EncDec + SI + mem + rep",
        against="si_mem",
        model={"lambda_global": _OWN.lambda_global, "lambda_local": _OWN.lambda_local},
    ),
    "final": Row(label="2×EncDec + SI + mem + rep + lat", against="si_mem_rep", score="latent"),
    **{
        f"proxy_{kind}": Row(label=title, against="si", proxy=kind)
        for kind, title in TITLES.items()
        if kind != ProxyConfig().kind
    },
    **{
        f"memory_{items}": Row(label=f"{items} items", against="si_mem", model={"memory_items": items})
        for items in MEMORIES
    },
    **_swept("lambda_global", "λ_global", _OWN.lambda_global),
    **_swept("lambda_local", "λ_local", _OWN.lambda_local),
}
"""Name → row; the name is the partition."""
DECIDING = ("enc_dec", "si", "si_mem", "si_rep", "si_mem_rep", "final")
"""Rows that the paper's claims stand on: made with the canonical form off too."""
BOTH_SCORES = ("si_mem_rep", "final")
"""Rows of Table V, on another data set than OCT."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field in which two experiments differ; None: the other one has no such field."""

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.name} {_shown(self.before)} → {_shown(self.after)}"


def ablations(
    canvases: Mapping[str, tuple[int, int]],
    budget: Budget,
    sizes: Sizes,
    *,
    names: Iterable[str] = ROWS,
    proxies: ProxyConfig | None = None,
) -> dict[str, Ablation]:
    """The rows ``names`` on the canvases (name → training rows and columns); ``proxies``: the lane's own.

    A row whose neighbour is not among them has none.
    """
    own, wanted = proxies or ProxyConfig(), tuple(names)
    made = {name: _made(name, canvases, budget, sizes, own) for name in wanted}
    return {name: row if row.against in wanted else replace(row, against="") for name, row in made.items()}


def _made(
    name: str, canvases: Mapping[str, tuple[int, int]], budget: Budget, sizes: Sizes, proxies: ProxyConfig
) -> Ablation:
    chain = [name]
    while ROWS[chain[-1]].against:
        chain.append(ROWS[chain[-1]].against)
    method, score, model = "", "", MethodConfig()
    for row in (ROWS[one] for one in reversed(chain)):
        if row.method:
            method, model = row.method, _bare(row.method, sizes)
        proxies = replace(proxies, kind=row.proxy or proxies.kind)
        model, score = replace(model, **row.model), row.score or score
    plan = {
        canvas: CanvasTraining(size=size, model=model, stages=_stages(method, budget))
        for canvas, size in canvases.items()
    }
    training = TrainingPlan(method=method, canvases=plan)
    row = ROWS[name]
    return Ablation(label=row.label, training=training, proxies=proxies, score=score, against=row.against)


def _bare(method: str, sizes: Sizes) -> MethodConfig:
    """A method at the lane's sizes without what the paper adds to it row by row."""
    own = sizes.own
    shared: dict[str, Any] = {"widths": own.widths, "latent_dim": own.latent_dim}
    match method:
        case "auto_encoder":
            return AutoEncoderConfig(**shared)
        case "memae":
            return MemAEConfig(**shared, memory_items=ITEMS)
        case "proxyano":
            return replace(own, memory_items=ITEMS, memory="none", lambda_global=0.0, lambda_local=0.0)
    raise ConfigError(f"experiments/ablations.py: expected auto_encoder, memae or proxyano, got {method!r}")


def _stages(method: str, budget: Budget) -> dict[str, TrainConfig]:
    """The benchmark's budget, looked at equally often in all rows."""
    every = max(1, min(100, budget.steps // 8))
    rows = budget.stages(method)
    return {name: replace(row, evaluate_every=every, checkpoint_every=every) for name, row in rows.items()}


def differences(before: Ablation, after: Ablation) -> list[Change]:
    """Every field in which two experiments differ."""
    one, other = described(before), described(after)
    names = [*one, *(name for name in other if name not in one)]
    pairs = [(name, one.get(name), other.get(name)) for name in names]
    return [Change(name=name, before=a, after=b) for name, a, b in pairs if a != b]


def changes(row: Ablation, rows: Mapping[str, Ablation]) -> list[Change]:
    """What a row changes against its neighbour; fields that come or go with another method or proxy are left out."""
    if not row.against:
        return []
    found = differences(rows[row.against], row)
    return [change for change in found if change.before is not None and change.after is not None]


def described(row: Ablation) -> dict[str, Any]:
    """A whole experiment as field → value; what is the same on every canvas stands there once."""
    found: dict[str, Any] = {"method": row.training.method, "score": row.score, "seed": row.seed}
    found |= {f"proxies.{name}": value for name, value in row.proxies.to_json().items()}
    plans = {canvas: _of_canvas(plan) for canvas, plan in row.training.canvases.items()}
    for name in next(iter(plans.values())):
        values = {canvas: plan[name] for canvas, plan in plans.items()}
        alike = len(set(map(repr, values.values()))) == 1
        found |= {name: next(iter(values.values()))} if alike else {f"{c}.{name}": v for c, v in values.items()}
    return found


def _of_canvas(plan: CanvasTraining) -> dict[str, Any]:
    stages: Sequence[TrainConfig] = list(plan.stages.values())
    optimiser = asdict(stages[0])
    del optimiser["steps"]
    found = {"size": plan.size, "steps": " + ".join(str(stage.steps) for stage in stages)}
    found |= {f"training.{name}": value for name, value in optimiser.items()}
    return found | {f"model.{name}": value for name, value in asdict(plan.model).items()}


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
