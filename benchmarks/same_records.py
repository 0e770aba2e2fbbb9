"""Do two homes hold the same results? Compares every record of every evaluation, before and after a refactoring.

    PROXYANO_HOME=… python -m benchmarks.same_records BEFORE AFTER [--except METRIC …]

BEFORE and AFTER are homes (``$PROXYANO_HOME``) made on the same machine from the same raw files with the same preset
and seed, one by the code before and one by the code after. Values may differ by 1e-6. ``--except`` names metrics that
were changed on purpose. Exits with 1 where a record differs, is missing or is new.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.evaluation.saved import load_evaluation
from pipeline.store.versions import Store

TOLERANCE = 1e-6
KEYS = ("method", "score", "level", "metric", "subset")
FIGURES = ("value", "low", "high", "n")

Key = tuple[Any, ...]
Records = Mapping[Key, Mapping[str, Any]]


def main() -> None:
    """Print what differs, data set by data set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--except", nargs="*", default=[], dest="left_out", metavar="METRIC")
    asked = parser.parse_args()
    differing, compared = 0, 0
    for dataset in sorted(set(_datasets(asked.before)) | set(_datasets(asked.after))):
        one, other = (_records(home, dataset, asked.left_out) for home in (asked.before, asked.after))
        found = differences(one, other)
        differing, compared = differing + len(found), compared + len(one)
        print(f"{dataset}: {len(one)} and {len(other)} records, {len(found)} differ")
        for line in found[:20]:
            print(f"  {line}")
    if not compared:
        sys.exit("expected evaluations in both homes, got none: materialize '*evaluation' in both first")
    sys.exit(1 if differing else 0)


def differences(before: Records, after: Records) -> list[str]:
    """One line a record that is missing, new, or has a figure more than ``TOLERANCE`` away."""
    lines = [f"missing: {' '.join(map(str, key))}" for key in before if key not in after]
    lines += [f"new: {' '.join(map(str, key))}" for key in after if key not in before]
    for key in (key for key in before if key in after):
        pairs = {name: (before[key][name], after[key][name]) for name in FIGURES}
        odd = {name: pair for name, pair in pairs.items() if not _equal(*pair)}
        if odd:
            shown = ", ".join(f"{name} {one} -> {other}" for name, (one, other) in odd.items())
            lines.append(f"{' '.join(map(str, key))}: {shown}")
    return lines


def _equal(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) <= TOLERANCE


def _datasets(home: Path) -> list[str]:
    versions = home / "stores" / "versions"
    if not versions.is_dir():
        sys.exit(f"expected a home with stores/versions, got {home}")
    return [folder.parent.name for folder in versions.glob("*/evaluation")]


def _records(home: Path, dataset: str, left_out: list[str]) -> Records:
    store = Store(home / "stores")
    if store.pointed(f"{dataset}/evaluation") is None:
        return {}
    records = load_evaluation(store.current(f"{dataset}/evaluation").path).records
    return {tuple(r[key] for key in KEYS): r for r in records if r["metric"] not in left_out}


if __name__ == "__main__":
    main()
