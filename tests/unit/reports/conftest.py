"""Small made-up evaluations that the tests of the reports share."""

import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from models.pixel_curve import PixelCurve
from pipeline.evaluation.layers import GALLERY, RESAMPLES
from pipeline.evaluation.pictures import chosen, strip_png
from pipeline.evaluation.records import Estimate, RecordContext, image_records, label_free_thresholds, pixel_records
from pipeline.evaluation.saved import PICTURE_COLUMNS, LaneEvaluation, Panel, write_evaluation
from pipeline.evaluation.score_name import ScoreName
from pipeline.reports.benchmark.runs import gather
from pipeline.reports.kit.runs import Run
from pipeline.store.versions import Store

CLASSES = ("CNV", "DME", "DRUSEN")
LABELS = {"proxyano": "ProxyAno", "auto_encoder": "Auto-Encoder", "memae": "MemAE", "cycle_gan": "Cycle-GAN"}
LESIONS = ("MA",)
BOOT = 200


def image_table(gains, count=30, seed=0):
    """Image scores: normals N(0, 1), abnormal images N(gain, 1), per score column."""
    rng = np.random.default_rng(seed)
    rows = [(split, 0, "normal") for split in ("val", "holdout", "test") for _ in range(count)]
    rows += [("test", 1, klass) for klass in CLASSES for _ in range(count)]
    table = pd.DataFrame(rows, columns=["split", "label", "klass"])
    table.insert(0, "image_id", [f"{i:04d}" for i in range(len(table))])
    table["group"] = [f"patient{i // 2}" for i in range(len(table))]
    for column, gain in gains.items():
        table[column] = rng.normal(size=len(table)) + gain * table["label"]
    return table


def layers_of(image_id):
    """The gallery's layers of one image on one canvas."""
    buffer = io.BytesIO()
    Image.new("L", (32, 32), 90).save(buffer, "PNG")
    layers = ("input", "proxy", "reconstruction", "heat")
    rows = [(image_id, "wide", layer, "found", buffer.getvalue()) for layer in layers]
    return pd.DataFrame(rows, columns=list(PICTURE_COLUMNS))


def summary(dataset, **more):
    return {"dataset": dataset, "title": dataset.upper(), "preset": "quick", "method": "proxyano", "seed": 0, **more}


def context_of(dataset, seed=0, resamples=60):
    return RecordContext(dataset=dataset, preset="quick", seed=seed, data_version="ab12", resamples=resamples)


def lane_of(dataset, gains, **more):
    scores = image_table(gains)
    records = image_records(scores, context_of(dataset))
    about = summary(dataset, thresholds=label_free_thresholds(scores), **more)
    return LaneEvaluation(records=records, scores=scores, summary=about)


@pytest.fixture(scope="session")
def record_context():
    """(data set) → context of its records."""
    return context_of


@pytest.fixture(scope="session")
def scores_of():
    """(gains, count) → image scores."""
    return image_table


@pytest.fixture(scope="session")
def make_lane():
    """(data set, gains, summary…) → evaluation."""
    return lane_of


@pytest.fixture(scope="session")
def oct_lane():
    """A control is far ahead of ProxyAno, and a shortcut nearly reaches it."""
    gains = {"proxyano:latent": 0.3, "proxyano:standardised": 0.6, "control_pca:standardised": 5.0}
    gains["shortcut_bytes:value"] = -0.6
    lane = lane_of("oct", gains, minutes={"stage1": 7.5}, peak_memory_gib=3.25)
    return replace(lane, pictures=layers_of(lane.scores["image_id"].iloc[-1]))


@pytest.fixture(scope="session")
def idrid_lane():
    rng = np.random.default_rng(0)
    curves = {}
    for name, gain in {"proxyano:standardised": 1.0, "control_median:residual": 0.4}.items():
        curves[name] = PixelCurve(("MA", "EX"), scale=1.0, bins=512)
        for i in range(4):
            masks = np.zeros((2, 40, 40), bool)
            masks[0, 4:8, 4:8] = masks[1, 20:30, 20:30] = True
            scores = rng.normal(size=(40, 40)) + gain * masks.any(0)
            curves[name].add(scores, masks, np.ones((40, 40), bool), group=str(i))
    records = pixel_records(curves, context_of("idrid"))
    picture = rng.integers(0, 256, (60, 60), dtype=np.uint8)
    png = strip_png({"input": picture, "truth": np.stack([picture] * 3, axis=-1)}, height=64)
    scores = image_table({"proxyano:standardised": 1.0}).query("split != 'test' or label == 1").reset_index(drop=True)
    return LaneEvaluation(
        records=records,
        scores=scores,
        curves={name: {subset: curve.curves(subset) for subset in curve.subsets} for name, curve in curves.items()},
        panels=[Panel(file="worst_0.png", caption="Worst case of all", png=png)],
        summary=summary(
            "idrid",
            counts={"train": 134, "test": 4},
            official_counts={"train": 134, "test": 81},
            quarantine=[{"path": "a/broken.jpg", "reason": "truncated after 7 bytes"}],
            config={"training": {"steps": 200}},
            versions={"idrid/tiles": "feed0123"},
            mlflow={"stage1": "http://127.0.0.1:5000/#/experiments/1"},
            notes=["Gray <green> channel."],
            model_card="# Choices\n\n| item | value |\n| --- | --- |\n| k | 128 |\n\n<script>alert(1)</script>",
        ),
    )


class Page(HTMLParser):
    """Text, tags, links and pictures of a page; fails on a tag closed out of order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, source):
        super().__init__()
        self.open, self.text, self.paragraphs, self.sources, self.scripts = [], [], [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "srcset") or (tag, name) == ("link", "href")]
        if tag == "p":
            self.paragraphs.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text.append(data)
            if "p" in self.open:
                self.paragraphs[-1] += data


@pytest.fixture(scope="session")
def read_page():
    """Folder of a report → its parsed page."""
    return lambda folder: Page((folder / "index.html").read_text(encoding="utf-8"))


def paired_table(gains: dict[str, float], count: int = 60) -> pd.DataFrame:
    """Scores that share their noise, so that a gain of .5 is told apart; ``gains`` by score column."""
    rng = np.random.default_rng(0)
    rows = [(split, 0, "normal") for split in ("val", "holdout", "test") for _ in range(count)]
    rows += [("test", 1, klass) for klass in ("CNV", "DME") for _ in range(count)]
    table = pd.DataFrame(rows, columns=["split", "label", "klass"])
    table.insert(0, "image_id", [f"{i:04d}" for i in range(len(table))])
    table["group"] = [f"patient{i // 2}" for i in range(len(table))]
    shared = rng.normal(size=len(table))
    for column, gain in gains.items():
        own = np.random.default_rng(list(column.encode())).normal(size=len(table))
        table[column] = shared + 0.2 * own + gain * table["label"]
    return table


def pixel_scores(method: str, gain: float) -> dict[str, PixelCurve]:
    rng = np.random.default_rng(0)
    curves = {}
    for score in ("standardised", "residual"):
        curve = PixelCurve(LESIONS, scale=1.0, bins=512)
        for number in range(8):
            mask = np.zeros((1, 32, 32), bool)
            mask[0, 8:16, 8:16] = True
            values = rng.normal(size=(32, 32)) + gain * mask[0]
            curve.add(values, mask, np.ones((32, 32), bool), group=str(number))
        curves[f"{method}:{score}"] = curve
    return curves


class Bench:
    """A store with fake evaluations."""

    def __init__(self, root) -> None:
        self.store = Store(root)
        self.runs: list[Run] = []

    def lane(self, dataset: str, gains: dict[str, float]):
        return self._publish(f"{dataset}/evaluation", dataset, "proxyano", gains, 0, {})

    def run(self, dataset: str, method: str, gain: float | None, seed: int = 0, **more: float) -> None:
        """A run whose standardised score gains so much; None: not run."""
        name = f"{method}-seed{seed}" if seed else method
        version = None
        if gain is not None:
            gains = {f"{method}:latent": gain / 2, f"{method}:standardised": gain}
            gains |= {f"{method}:{score}": value for score, value in more.items()}
            asset = f"{dataset}/baseline_evaluations/{name}"
            version = self._publish(asset, dataset, method, gains, seed, pixel_scores(method, gain))
        self.runs.append(
            Run(
                dataset=dataset,
                title=dataset.upper(),
                name=name,
                method=method,
                label=LABELS[method],
                seed=seed,
                version=version,
            )
        )

    def _publish(self, asset, dataset, method, gains, seed, curves):
        work = self.store.work(asset, "a" * 16)
        scores = paired_table(gains)
        context = context_of(dataset, seed, BOOT)
        records = image_records(scores, context)
        curves = curves if dataset == "idrid" else {}
        records += pixel_records(curves, context)
        about = {"parameters": 1234, "train_minutes": 1.5, "images_per_second": 80.0, "peak_memory_gib": 0.9}
        about |= {"label": LABELS[method], "entry": method, "budget": {"wide": {"stage1": 400}}}
        about |= {"last_gain": {"wide": {"stage1": 0.01, "stage2": max(gains.values()) / 10}}}
        about |= {"batch_size": {"wide": 16}, "learning_rate": {"wide": {"stage1": 2e-4}}}
        figure = ("reconstruction", "reconstruction_r2", "test normals", Estimate(0.7, 0.6, 0.8, 9))
        records.append(context.record(ScoreName.of(method, "wide"), *figure))
        summary = {"dataset": dataset, "title": dataset, "preset": "quick", "method": method, "seed": seed, **about}
        write_evaluation(work, records=records, scores=scores, summary=summary)
        drawn = {
            name: curve.resampled(n=BOOT, rng=np.random.default_rng(0))["auroc"].tolist()
            for name, curve in curves.items()
        }
        (work / RESAMPLES).write_text(json.dumps(drawn))
        shown, rng = chosen(scores), np.random.default_rng(seed)
        arrays = {"image_id": shown["image_id"].to_numpy(str), "klass": shown["klass"].to_numpy(str)}
        arrays["wide/input"] = np.tile(np.arange(64, dtype=np.uint8), (len(shown), 64, 1))
        arrays["wide/reconstruction"] = rng.integers(0, 255, (len(shown), 64, 64), dtype=np.uint8)
        arrays["wide/map"] = rng.normal(size=(len(shown), 64, 64)).astype(np.float16)
        arrays["wide/truth"] = np.zeros((len(shown), 128, 128), bool)
        np.savez(work / GALLERY, **arrays)
        return self.store.publish(asset, work, f"{abs(hash_of(asset)):016x}"[:16], {})

    def data(self, **lanes):
        return gather(self.runs, lanes)


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-8:], "big")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store")
