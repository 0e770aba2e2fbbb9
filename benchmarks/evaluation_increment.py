"""What one new, one changed and one removed test image cost the evaluation of OCT, against a full one: CPU seconds.

    PROXYANO_HOME=… [PROXYANO_RAW=… PROXYANO_PRESET=…] python -m benchmarks.evaluation_increment

Copies the home, which holds the lane, and the raw files to a temporary folder beside the home and evaluates. Then
changes three test images, refreshes what the evaluation reads and evaluates twice: from the evaluation before, and from
none.
"Step" is user and system time of the step alone, "process" that of the whole command with its start-up. Exit status 1
where anything is trained, the two results differ, or the step costs more than 5 % of the full one.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.store.versions import Store, Version
from pipeline.wiring.settings import Settings

ASSET, TARGET = "oct/evaluation", 0.05
TRAINED = ("oct/stage1", "oct/stage2", "oct/members", "oct/detector")
TIMED = ("summary.json", "carried.parquet", "COMPLETE.json")  # files that hold times
ROOT = Path(__file__).parents[1]


def change_three(folder: Path) -> None:
    """Add noise to one test image, remove another and add a noisy copy of a third."""
    changed, removed, source = sorted((folder / "OCT2017" / "test" / "DME").glob("*.jp*g"))[:3]
    added = Path(shutil.copy(source, source.with_name(f"DME-990001-1{source.suffix}")))
    removed.unlink()
    for number, path in enumerate((changed, added)):
        pixels = np.asarray(Image.open(path).convert("L"), float)
        noisy = pixels + np.random.default_rng(number).normal(0, 6, pixels.shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path)


def run(environment: dict[str, str], *words: str) -> float:
    """User and system seconds of a command and its children; ``CalledProcessError`` where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (Path(environment["PROXYANO_HOME"]) / "output.txt").open("ab") as output:
        subprocess.run(
            [sys.executable, "-m", *words], env=environment, cwd=ROOT, stdout=output, stderr=output, check=True
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def evaluated(environment: dict[str, str], store: Store, *, anew: bool) -> tuple[Version, dict[str, str], float, float]:
    """The new evaluation, hashes of its files, CPU seconds of the step and of the process; ``anew``: from none."""
    for kind in ("versions", "notes") if anew else ():
        shutil.rmtree(store.root / kind / ASSET, ignore_errors=True)  # there may be none
    process = run(environment, "dagster", "asset", "materialize", "--select", ASSET)
    version = store.current(ASSET)
    hashes = {name: str(file["sha256"]) for name, file in store.marker(version)["files"].items() if name not in TIMED}
    return version, hashes, store.noted(version)["cpu_seconds"], process


def main() -> int:
    """Print the table; 0 where nothing trained, the results are equal and the target is reached."""
    settings = Settings()
    with tempfile.TemporaryDirectory(dir=settings.home.parent) as folder:
        home, raw = Path(folder) / "home", Path(folder) / "raw"
        shutil.copytree(settings.home, home, symlinks=True)
        environment = os.environ | {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
        if settings.raw is None:
            raw = home / "sample"
        else:
            shutil.copytree(settings.raw_root / "oct", raw / "oct")
            environment["PROXYANO_RAW"] = str(raw)
        store = Store(home / "stores")
        evaluated(environment, store, anew=True)
        change_three(raw / "oct")
        before = {asset: store.pointed(asset) for asset in TRAINED}
        run(environment, "pipeline.cli", "refresh", "--select", "*oct/detector")
        trained = {asset for asset in TRAINED if store.pointed(asset) != before[asset]}
        version, files, step, process = evaluated(environment, store, anew=False)
        full, full_files, full_step, full_process = evaluated(environment, store, anew=True)
    odd = sorted(name for name in files.keys() | full_files.keys() if files.get(name) != full_files.get(name))
    print("| OCT, CPU seconds | full | three images | ratio |")
    print("|---|--:|--:|--:|")
    print(f"| step | {full_step:.1f} | {step:.1f} | {step / full_step:.1%} |")
    print(f"| process | {full_process:.1f} | {process:.1f} | {process / full_process:.1%} |")
    print(json.dumps({"images": full.meta["images"], "trained": sorted(trained), "files that differ": odd}))
    same = full.data_version == version.data_version and not odd
    return 0 if same and not trained and step / full_step <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
