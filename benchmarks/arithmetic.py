"""What reproducible arithmetic costs and gives on this machine; a table for docs/reference/reproducibility.md.

    python -m benchmarks.arithmetic

Each row runs in processes of its own, as the variables count from a process's start.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

MODES = ("", "AUTO,STRICT", "COMPATIBLE")
OTHER_CPU = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SIDE, REPEATS, IMAGES, STEPS = 2048, 10, 48, 60
NETWORKS = {"24-48-64, 64 px": ((24, 48, 64), 64), "16-32-64, 128 px": ((16, 32, 64), 128)}


def main() -> None:
    """Print the table."""
    from models.arithmetic import cpu_name

    print(f"CPU: {cpu_name()}\n\n| what | one thread | two threads |\n|---|--:|--:|")
    for mode in MODES:
        found = [_asked("product", threads, MKL_CBWR=mode) for threads in (1, 2)]
        name = f"matrix product, GFLOP/s, MKL_CBWR={mode or 'not set'}"
        print(f"| {name} | {found[0]['gflops']:.0f} | {found[1]['gflops']:.0f} |")
    for name in NETWORKS:
        found = [_asked("scoring", threads, NETWORK=name) for threads in (1, 2)]
        cells = [f"{one['single']:.0f} / {one['batch']:.0f}" for one in found]
        print(f"| ProxyAno {name}, images/s, one at a time / in batches of {IMAGES} | {cells[0]} | {cells[1]} |")
    first = _asked("training", 1)
    rows = {
        "again": _asked("training", 1),
        "two threads": _asked("training", 2),
        "AVX2": _asked("training", 1, **OTHER_CPU),
        "another seed": _asked("training", 1, SEED="1"),
    }
    print(f"\nTraining loss after {STEPS} steps, one thread: {first['loss']:.6f} (weights {first['weights']})")
    for name, one in rows.items():
        same = "equal weights" if one["weights"] == first["weights"] else "other weights"
        print(f"- {name}: {one['loss']:.6f}, {same}")


def _asked(what: str, threads: int, **variables: str) -> dict[str, object]:
    """The answer of a process of its own."""
    environment = os.environ | {"MKL_CBWR": "AUTO,STRICT", "OMP_NUM_THREADS": str(threads)} | variables
    environment = {name: value for name, value in environment.items() if value}
    line = [sys.executable, "-m", "benchmarks.arithmetic", what]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _best(function: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of some runs, after one to warm up."""
    function()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        spent.append(time.perf_counter() - began)
    return min(spent)


def product() -> dict[str, object]:
    """Speed of an fp32 matrix product."""
    import torch

    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    seconds = _best(lambda: [left @ right for _ in range(REPEATS)])
    return {"gflops": REPEATS * 2 * SIDE**3 / seconds / 1e9}


def scoring() -> dict[str, object]:
    """Images a second, one at a time as the product scores them, and in a batch."""
    import torch

    from models.methods import build
    from models.methods.proxyano_config import ProxyAnoConfig
    from models.source import TensorSource

    widths, side = NETWORKS[os.environ["NETWORK"]]
    method = build("proxyano", ProxyAnoConfig(widths=widths, adversarial=False), seed=0).eval()
    method.to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (IMAGES, 1, side, side), dtype=torch.uint8)
    batch = TensorSource(images=images).batch(torch.arange(IMAGES))
    with torch.no_grad():
        whole = IMAGES / _best(lambda: method._score(batch))
    return {"single": IMAGES / _best(lambda: method.score(batch)), "batch": whole}


def training() -> dict[str, object]:
    """Loss and hash of the weights after some steps of stage 1 on drawn images."""
    import tempfile
    from pathlib import Path

    import torch

    from models.methods import build
    from models.methods.proxyano_config import ProxyAnoConfig
    from models.schedule import TrainConfig
    from models.source import TensorSource
    from models.trainer import fit

    draw = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (64, 1, 8, 8), generator=draw, dtype=torch.uint8)
    images = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    source = TensorSource(images=images, proxies=images)
    method = build("proxyano", ProxyAnoConfig(widths=(8, 16, 16), latent_dim=16, adversarial=False), seed=0)
    config = TrainConfig(steps=STEPS, batch_size=16, evaluate_every=STEPS)
    seed = int(os.environ.get("SEED", "0"))
    with tempfile.TemporaryDirectory() as folder:
        result = fit(method, "stage1", source, source, config, Path(folder), seed=seed, progress=False)
    return {"loss": result.best_value, "weights": result.weights}


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps({"product": product, "scoring": scoring, "training": training}[sys.argv[1]]()))
    else:
        main()
