"""The current results: ``docs/results/results.json``, its tables, and pictures of what the method does.

    PROXYANO_HOME=… python -m benchmarks.results docs/results [home of another seed …]

Reads the current evaluations of every home (one seed each); rows of a data set that no home has evaluated stay as they
are. A value is the mean over seeds; its interval is the mean of
the seeds' 95 % intervals, which come from resampling groups of images. Nothing is trained or scored here, apart from
the reconstructions that the pictures show.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.fidelity import Network, blocks, image_rows, seen_image, true_proxy
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

DATASETS = ("brain_mri", "oct", "idrid")
LEVELS = ("image", "pixel", "reconstruction")
METRICS = ("auroc", "auroc_heldout", "auroc_adjusted", "ap", "auroc_minus_null")
"""Of the levels image and pixel; every metric of the level reconstruction is kept."""
KEYS = ("dataset", "method", "score", "level", "metric", "subset")
SHOWN = 192  # px, side of a square tile in a picture
GAIN = 3.0  # of the residual
COLUMNS = ("image", "true proxy", "predicted proxy", "reconstruction", f"{GAIN:g} x residual")
LABEL = 150  # px, width of the row's name

Picture = NDArray[np.uint8]


def main() -> None:
    """Write ``results.json``, ``tables.md`` and ``reconstruction/<dataset>_<canvas>.png`` below the folder."""
    target, homes = Path(sys.argv[1]), [Settings().home, *(Path(one) for one in sys.argv[2:])]
    rows = list[dict[str, Any]]()
    for home in homes:
        store = Store(home / "stores")
        for dataset in DATASETS:
            if store.pointed(f"{dataset}/evaluation") is not None:
                version = store.current(f"{dataset}/evaluation")
                commit = str(store.provenance(version.asset, version.data_version).git_commit)
                rows += _rows(load_evaluation(version.path), commit)
    evaluated = {row["dataset"] for row in rows}
    earlier = json.loads(path.read_text())["records"] if (path := target / "results.json").is_file() else []
    records = [record for record in earlier if record["dataset"] not in evaluated] + _over_seeds(pd.DataFrame(rows))
    written = {"commit": " ".join(sorted({str(record["commit"]) for record in records})), "records": records}
    (target / "results.json").write_text(json.dumps(written, indent=1) + "\n")
    (target / "tables.md").write_text(_tables(pd.DataFrame(records), written["commit"]))
    pictures = target / "reconstruction"
    pictures.mkdir(exist_ok=True)
    for dataset in sorted(evaluated):
        for canvas, picture in _pictures(Store(homes[0] / "stores"), dataset):
            cv2.imwrite(str(pictures / f"{dataset}_{canvas}.png"), picture)
    print(f"{len(records)} records of {len(homes)} seed(s), commit {written['commit']}: {target / 'results.json'}")


def _rows(lane: LaneEvaluation, commit: str) -> Iterator[dict[str, Any]]:
    summary = lane.summary
    command = (
        f"PROXYANO_PRESET={summary['preset']} PROXYANO_SEED={summary['seed']} "
        f"dagster asset materialize --select '+key:\"{summary['dataset']}/evaluation\"'"
    )
    minutes = round(sum(summary["minutes"].values()), 1)
    for record in lane.records:
        level = record["level"]
        if level not in LEVELS or (level != LEVELS[-1] and record["metric"] not in METRICS):
            continue
        kept = {key: record[key] for key in (*KEYS, "value", "low", "high", "n", "seed")}
        yield kept | {"commit": commit, "minutes": minutes, "command": command}


def _over_seeds(rows: pd.DataFrame) -> list[dict[str, Any]]:
    records = []
    for key, part in rows.groupby(list(KEYS), sort=False):
        figures = {name: _rounded(part[name].mean()) for name in ("value", "low", "high")}
        first = part.iloc[0]
        record = dict(zip(KEYS, key, strict=True)) | figures
        record |= {"n": int(part["n"].min()), "seeds": sorted(int(seed) for seed in part["seed"])}
        record |= {"pretrained": False, "commit": first["commit"], "minutes": float(part["minutes"].mean())}
        records.append(record | {"command": first["command"]})
    return records


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _tables(records: pd.DataFrame, commit: str) -> str:
    """What the method does, then image and pixel scores; markdown."""
    parts = [f"# Tables\n\nMade by `benchmarks/results.py` from evaluations at commit {commit}; 95 % intervals.\n"]
    does = records[records["level"] == LEVELS[-1]]
    does = does.assign(row=does["dataset"] + " " + does["score"] + ", " + does["method"])
    does = does.assign(column=does["metric"] + ", " + does["subset"])
    wide = does.pivot_table(index="column", columns="row", values="value", sort=False).round(3)
    parts.append(f"## What the methods do to images\n\n{wide.to_markdown()}\n")
    for (dataset, level), part in records[records["level"] != LEVELS[-1]].groupby(["dataset", "level"], sort=False):
        every = part[part["subset"] == "all"]
        rows = {
            f"{method} {score}": {metric: _shown(one.iloc[0]) for metric, one in found.groupby("metric", sort=False)}
            for (method, score), found in every.groupby(["method", "score"], sort=False)
        }
        table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
        parts.append(f"## {dataset}, {level} level, n = {int(every['n'].max())}\n\n{table.to_markdown()}\n")
    return "\n".join(parts)


def _shown(record: pd.Series) -> str:
    bounds = "" if pd.isna(record["low"]) else f" [{record['low']:.3f}, {record['high']:.3f}]"
    return f"{record['value']:.3f}{bounds}"


def _pictures(store: Store, dataset: str) -> Iterator[tuple[str, Picture]]:
    """Per canvas: best, median and worst reconstructed normal, then most, median and least conspicuous lesion.

    Normals are ordered by R² of the reconstruction, abnormal test images by the root mean square of I - Î.
    """
    lane = load_evaluation(store.current(f"{dataset}/evaluation").path)
    trained, tiles, proxies = (
        store.get(name, lane.summary["versions"][name]) for name in _names(dataset, ("stage2", "tiles", "proxies"))
    )
    table = lane.scores.set_index("image_id")
    error = table[f"{lane.summary['method']}:image"]
    for canvas in trained.meta["canvases"]:
        network = Network.of(trained, canvas)
        held = network.tiles(tiles, proxies, ("val", "holdout", "test"))
        explained = pd.DataFrame(image_rows(network, held))
        shown = explained[explained["split"] == ("test" if _tested(explained) else "val")]
        normal = shown[shown["label"] == 0].set_index("image_id")["reconstruction_r2"].dropna().sort_values()[::-1]
        lesions = error[table["label"] == 1].sort_values()[::-1]
        wanted = dict(zip(_three(normal.index), ("best normal", "median normal", "worst normal"), strict=True))
        wanted |= dict(
            zip(_three(lesions.index), ("most conspicuous", "median abnormal", "least conspicuous"), strict=True)
        )
        yield canvas, _sheet(network, held, wanted, normal.to_dict() | lesions.to_dict())


def _names(dataset: str, parts: tuple[str, ...]) -> list[str]:
    return [f"{dataset}/{part}" for part in parts]


def _tested(rows: pd.DataFrame) -> bool:
    return bool(((rows["split"] == "test") & (rows["label"] == 0)).any())


def _three(names: pd.Index) -> list[str]:
    """First, middle and last."""
    return [str(names[0]), str(names[len(names) // 2]), str(names[-1])]


def _sheet(network: Network, held: Any, wanted: Mapping[str, str], figure: Mapping[str, float]) -> Picture:
    """One row an image, one column an array; contrast as the network sees it, the residual's size times ``GAIN``."""
    rows: dict[str, Picture] = {}
    contrast = float(getattr(network.method.config, "contrast", 1.0))
    for block in blocks(held):
        if not set(block.index["image_id"]) & set(wanted):
            continue
        found, proxy = network.predict(block), true_proxy(block, network.canvas)
        image = seen_image(found)
        for row, name in enumerate(found.images.images["image_id"]):
            if name in wanted and proxy is not None:
                size = np.abs(image[row] - found.reconstruction[row]) * found.images.scored[row] * GAIN
                planes = (image[row], proxy[row], found.proxy[row], found.reconstruction[row])
                stretched = [0.5 + contrast * (plane - 0.5) for plane in planes]
                rows[name] = np.hstack([_plane(one) for one in (*stretched, contrast * size)])
    parts = [_captioned(rows[name], f"{title}\n{figure[name]:.2f}") for name, title in wanted.items()]
    return np.vstack([_titles(parts[0].shape[1]), *parts])


def _plane(values: NDArray[np.floating]) -> Picture:
    height, width = values.shape
    scale = SHOWN / max(1, round(float(np.sqrt(height * width))))
    grey = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _captioned(row: Picture, text: str) -> Picture:
    side = np.full((row.shape[0], LABEL), 255, np.uint8)
    for line, words in enumerate(text.split("\n")):
        cv2.putText(side, words, (4, 24 + 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return np.hstack([side, row])


def _titles(width: int) -> Picture:
    head = np.full((26, width), 255, np.uint8)
    each = (width - LABEL) // len(COLUMNS)
    for place, title in enumerate(COLUMNS):
        cv2.putText(head, title, (LABEL + place * each + 4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return head


if __name__ == "__main__":
    main()
