"""Brain MRI over four group splits, method and controls: how far one split's luck reaches.

    PROXYANO_RAW=… PROXYANO_PRESET=quick python -m benchmarks.brain_mri_splits

One split has some seventy normal test groups, so every result moves by a hundredth or two with the split seed alone.
The real lane runs once a seed, in a home of its own (`$PROXYANO_HOME/splits`), up to the evaluation; what is made is
kept, so the same command goes on after a cut. The training seed stays 0. The rows are also left in
`$PROXYANO_HOME/splits/brain_mri_splits.json`.
"""

import os
import subprocess
import sys

import pandas as pd

from pipeline.evaluation.saved import load_evaluation
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

SEEDS = range(4)


def main() -> None:
    """Print a row a method and score: image AUROC on test normals and on held-out normals of each seed, mean, sd."""
    settings = Settings()
    home = settings.home / "splits"
    found = []
    for seed in SEEDS:
        own = {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "PROXYANO_SPLIT_SEED": str(seed)}
        command = [sys.executable, "-m", "pipeline.cli", "refresh", "--select", "*brain_mri/evaluation"]
        subprocess.run(command, env=os.environ | own, check=True)
        version = Store(home / "stores").current("brain_mri/evaluation")
        table = pd.DataFrame(load_evaluation(version.path).records)
        image = table[(table["level"] == "image") & (table["subset"] == "all") & (table["method"] != "shortcut")]
        found.append(image[image["metric"].isin(["auroc", "auroc_heldout"])].assign(seed=f"seed {seed}"))
    rows = pd.concat(found)
    rows.to_json(home / "brain_mri_splits.json", orient="records", indent=1)
    wide = rows.pivot_table(index=["metric", "method", "score"], columns="seed", values="value", sort=False)
    wide["mean"], wide["sd"] = wide.mean(axis=1), wide.std(axis=1, ddof=1)
    print(wide.round(4).reset_index().to_markdown(index=False))


if __name__ == "__main__":
    main()
