"""One stage of a training in several processes: torchrun, or another launcher, runs this module in each of them.

The step writes the job and the untrained weights into the folder of the training's state, starts the processes, and
then loads the finished state as after any other training. The processes need the same files under the same paths.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.arithmetic import set_environment, thread_share
from models.checkpoint import load_method, save_method
from models.method import Method
from models.schedule import TrainConfig
from models.trainer import fit
from pipeline.errors import ProxyAnoError
from pipeline.store.files import write_file
from pipeline.store.versions import Version
from pipeline.tiles.streaming import TrainingData

Log = Callable[[int, dict[str, float]], None]
_LOGGED = "proxyano-log "  # begins a line of figures on the standard output of the first process


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How a training is spread."""

    devices: str = "1"  # processes on each machine; "auto": one for each GPU
    memory: float | None = None  # GB for training data on each machine; None: half of what it has
    launcher: str = ""  # command that starts them, such as srun or torchrun with its options; empty: torchrun here

    @property
    def count(self) -> int:
        """Processes on each machine."""
        import torch

        return int(self.devices) if self.devices != "auto" else max(1, torch.accelerator.device_count())

    @property
    def several(self) -> bool:
        """Whether processes are started for a training."""
        return self.count > 1 or bool(self.launcher)

    @property
    def command(self) -> list[str]:
        """The launcher and its options."""
        here = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.count}", "--no-python"]
        return shlex.split(self.launcher) or [sys.executable, *here]


ONE = Processes()
"""No processes but the step's own."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Arguments of `fit` as JSON values, apart from the method and the folder."""

    stage: str
    config: dict[str, Any]
    seed: int
    data: str
    title: str
    progress: bool
    window: int
    about: dict[str, Any]  # canvas, size, memory, and the folders of tiles and proxies, of `TrainingData`


def train_in_processes(job: Job, method: Method, folder: Path, processes: Processes, log: Log) -> None:
    """Train until the state in the folder is finished; ``ProxyAnoError`` if a process fails."""
    save_method(method, folder / "start", stage=job.stage)
    write_file(folder / "job.json", json.dumps(asdict(job)).encode())
    command = [*processes.command, sys.executable, "-m", "pipeline.processes", str(folder)]
    environment = thread_share(processes.count) | os.environ  # the user's own thread settings win
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout is not None
        try:
            for line in running.stdout:
                if line.startswith(_LOGGED):
                    log(*json.loads(line.removeprefix(_LOGGED)))
                else:
                    sys.stdout.write(line)
        except BaseException:  # the step is interrupted, or the log fails
            running.terminate()  # torchrun ends its processes
            raise
    if running.returncode:
        what = f"{job.title}: {shlex.join(command)} ended with {running.returncode}"
        raise ProxyAnoError(f"{what}; the reason is printed above. The same command resumes from the last state")


def main(folder: Path) -> None:
    """One of the processes; torchrun or SLURM says which."""
    job = Job(**json.loads((folder / "job.json").read_text()))
    folders = {name: Path(job.about[name]) for name in ("tiles", "proxies")}
    versions = {name: Version(asset=job.title, path=path, data_version="", meta={}) for name, path in folders.items()}
    data = TrainingData(**job.about | versions | {"size": tuple(job.about["size"])})
    total = os.environ.get("WORLD_SIZE") or os.environ["SLURM_NTASKS"]
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or total)
    first = os.environ.get("RANK", os.environ.get("SLURM_PROCID")) == "0"

    def log(step: int, figures: dict[str, float]) -> None:
        if first:
            sys.stdout.write(f"{_LOGGED}{json.dumps([step, figures])}\n")
            sys.stdout.flush()  # fails where the step is gone, which ends a training that nobody waits for

    method, sources = load_method(folder / "start"), data.sources(job.window)
    common: dict[str, Any] = {"seed": job.seed, "data": job.data, "title": job.title, "progress": job.progress}
    common |= {"devices": here, "nodes": int(total) // here, "log": log}
    fit(method, job.stage, *sources, TrainConfig(**job.config), folder, **common)


if __name__ == "__main__":
    set_environment()
    main(Path(sys.argv[1]))
