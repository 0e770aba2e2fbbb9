"""The state from which a killed training resumes exactly."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from models.checkpoint import read_tensors, write_tensors
from models.method import Method

STATE_FILE = "training_state.safetensors"


@dataclass
class Progress:
    """Progress so far, apart from tensors."""

    step: int = 0  # steps done
    best_value: float | None = None  # lowest validation loss
    best_step: int = 0
    bad: int = 0  # evaluations since the best
    fall_from: int | None = None  # step at which the rate of a plateau schedule began to fall
    done: bool = False
    stopped_early: bool = False
    seconds: float = 0.0  # spent in this stage, over all its processes
    window: dict[str, float] = field(default_factory=dict)  # sums of losses since the last log line
    window_steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)  # evaluations: step and losses


@dataclass
class TrainingState:
    """Method, optimisers, generator and progress of one stage; `save` and `load` are exact inverses."""

    method: Method
    optimisers: dict[str, Adam]
    generator: torch.Generator
    average: dict[str, Tensor]  # averaged weights by name; empty when off
    best: dict[str, Tensor]  # weights that validated best; empty before the first evaluation
    progress: Progress

    def save(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """Write everything atomically as one file."""
        tensors = {"random/generator": self.generator.get_state(), "random/global": torch.get_rng_state()}
        for kind, values in (("method", self.method.state_dict()), ("average", self.average), ("best", self.best)):
            tensors |= {f"{kind}/{name}": value for name, value in values.items()}
        for phase, optimiser in self.optimisers.items():
            for number, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"adam/{phase}/{number}/{name}": value for name, value in moments.items()}
        meta = {"fingerprint": dict(fingerprint), "progress": asdict(self.progress)}
        write_tensors(folder / STATE_FILE, tensors, meta)

    def load(self, folder: Path, fingerprint: Mapping[str, Any]) -> bool:
        """Load the state in a folder; False if there is none, ValueError if it belongs to another training."""
        path = folder / STATE_FILE
        if not path.is_file():
            return False
        tensors, meta = read_tensors(path)
        if meta["fingerprint"] != dict(fingerprint):
            differing = [name for name, value in fingerprint.items() if meta["fingerprint"].get(name) != value]
            remedy = "use another folder, or delete this one to start again"
            raise ValueError(f"{path} belongs to another training (it differs in {', '.join(differing)}): {remedy}")
        self.method.load_state_dict(_under(tensors, "method/"))
        own, held = self.method.state_dict(), _under(tensors, "average/")
        self.average = {name: torch.empty_like(own[name]).copy_(value) for name, value in held.items()}
        self.best = _under(tensors, "best/")
        self.generator.set_state(tensors["random/generator"])
        torch.set_rng_state(tensors["random/global"])
        for phase, optimiser in self.optimisers.items():
            parameters = optimiser.param_groups[0]["params"]
            for name, value in _under(tensors, f"adam/{phase}/").items():
                number, key = name.split("/")
                parameter = parameters[int(number)]  # its moments are laid out in memory like itself
                placed = value if value.ndim == 0 else torch.empty_like(parameter).detach().copy_(value)
                optimiser.state[parameter][key] = placed
        self.progress = Progress(**meta["progress"])
        return True


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
