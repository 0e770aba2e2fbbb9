"""Time and memory of `proxyano score` over a large folder.

    PROXYANO_RAW=… python -m benchmarks.scoring oct 5000

The folder holds links to the data set's own raw images, as often as it takes. Printed: images a second, peak memory of
the process, and how many images got which decision.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from pipeline.data.walk import find_files
from pipeline.wiring.settings import Settings


def main() -> None:
    """Score ``count`` links to the images of one data set."""
    dataset, count = sys.argv[1], int(sys.argv[2])
    settings = Settings()
    files = list(find_files([settings.raw_root / dataset]))
    with tempfile.TemporaryDirectory() as folder:
        links = Path(folder) / "images"
        links.mkdir()
        for number in range(count):
            path = files[number % len(files)]
            (links / f"{number:06d}{path.suffix}").symlink_to(path)
        command = [sys.executable, "-m", "pipeline.cli", "score", str(links), "--dataset", dataset, "--yes"]
        command += ["--out", str(Path(folder) / "out")]
        began = time.monotonic()
        done = subprocess.run(command, check=False, env=os.environ, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        table = pd.read_csv(Path(folder) / "out" / "scores.csv")
    row = {
        "dataset": dataset,
        "files": count,
        "exit": done.returncode,
        "minutes": round(seconds / 60, 2),
        "images a second": round(count / seconds, 2),
        "peak GiB": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 3),
        "decisions": table["decision"].value_counts().to_dict(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
