"""`dagster dev` with its daemon, both sensors switched on: one changed OCT image, and what runs by itself.

    python -m benchmarks.automation

Works on the built-in sample in `$PROXYANO_HOME` (made first if need be). Prints how often each asset ran after the
change and when; exits 1 unless exactly the OCT lane and the report ran, each once.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import cv2
import dagster as dg
import numpy as np
import pandas as pd

from pipeline.wiring.settings import Settings

PORT = 3789
PATIENCE = 900.0  # seconds
LANE = ["images", "tiles", "proxies", "normals", "stage1", "stage2", "members", "detector", "evaluation"]
ROOT = Path(__file__).parents[1]


def change_one_image(folder: Path) -> Path:
    """Add noise to the first OCT image of the sample."""
    path = sorted((folder / "oct").rglob("*.jpeg"))[0]
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    noisy = np.clip(pixels + np.random.default_rng(time.time_ns()).normal(0, 6, pixels.shape), 0, 255)
    cv2.imwrite(str(path), noisy.astype(np.uint8))
    return path


def wait_for(what: str, ready: object, end: float) -> None:
    """Ask every second until it is so; ``TimeoutError`` otherwise."""
    while not ready():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {PATIENCE} s")
        time.sleep(1)


def answers() -> bool:
    """Whether the pages are up."""
    try:
        with urlopen(f"http://127.0.0.1:{PORT}/server_info", timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


def ran_since(instance: dg.DagsterInstance, start: float) -> list[tuple[str, float]]:
    """Materializations after ``start``, as asset and seconds from then."""
    found: list[tuple[str, float]] = []
    for key in instance.all_asset_keys():
        wanted = dg.AssetRecordsFilter(asset_key=key, after_timestamp=start)
        records = instance.fetch_materializations(wanted, limit=20).records
        found += [(key.to_user_string(), record.timestamp - start) for record in records]
    return sorted(found, key=lambda entry: entry[1])


def main() -> int:
    """Run it; the exit code."""
    settings = Settings()
    if settings.raw is not None:
        raise SystemExit("this changes raw files, so it runs on the built-in sample only: unset PROXYANO_RAW")
    subprocess.run([sys.executable, "-m", "pipeline.cli", "refresh"], check=True, cwd=ROOT)
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(PORT), "-w", "workspace.yaml"]
    with (settings.home / "dev.log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        wait_for("dagster dev", answers, end)
        for sensor in ("raw_folders", "lanes"):
            line = [sys.executable, "-m", "dagster", "sensor", "start", sensor, "-w", "workspace.yaml"]
            subprocess.run(line, check=True, cwd=ROOT)
        time.sleep(45)  # a first look of both
        with dg.DagsterInstance.get() as instance:
            start = time.time()
            print(f"changed {change_one_image(settings.raw_root)}")
            wait_for("the report", lambda: any(a == "evaluation_report" for a, _ in ran_since(instance, start)), end)
            time.sleep(60)  # whatever else would start
            ran = ran_since(instance, start)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
    print(pd.DataFrame(ran, columns=["asset", "seconds after the change"]).round(0).to_markdown(index=False))
    expected = Counter([*(f"oct/{stage}" for stage in LANE), "evaluation_report"])
    return 0 if Counter(asset for asset, _ in ran) == expected else 1


if __name__ == "__main__":
    sys.exit(main())
