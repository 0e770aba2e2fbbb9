"""Only what is stale: the sample's lanes refreshed after every kind of change, on real instances."""

import resource
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import dagster as dg
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from pipeline.definitions import build
from pipeline.evaluation.carried import FILE
from pipeline.experiments.presets import PRESETS
from pipeline.store.versions import Store
from pipeline.tiles import proxies
from pipeline.wiring.refresh import Outcome, Refresh
from pipeline.wiring.settings import Settings

WAVES = [
    ["images"],
    ["tiles"],
    ["proxies"],
    ["normals"],
    ["members", "stage1"],
    ["stage2"],
    ["detector"],
    ["evaluation"],
]
LANE = [stage for wave in WAVES for stage in wave]


@pytest.fixture
def home(undisturbed, tmp_path, monkeypatch):
    """A copy of the made sample, named by the environment as a user's shell would."""
    root = tmp_path / "home"
    shutil.copytree(undisturbed.root, root)
    for name in ("PROXYANO_RAW", "PROXYANO_PRESET", "PROXYANO_SEED", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROXYANO_HOME", str(root))
    monkeypatch.setenv("DAGSTER_HOME", str(root / "dagster"))
    return root


def refresh(home: Path, select: str = "*evaluation_report") -> Outcome:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return Refresh(build(Settings()), instance, select).run(lambda number, wave, following: None)


def stale(home: Path) -> list[str]:
    """What a refresh of the report would run, found without running it."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [key.to_user_string() for key in Refresh(build(Settings()), instance, "*evaluation_report").due()]


def ran(outcome: Outcome) -> list[str]:
    assert not outcome.failed
    assert set(outcome.skipped) | set(outcome.ran) == set(outcome.selected)
    return [key.to_user_string() for key in outcome.ran]


def changed_plan(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    """The sample preset with a changed configuration of its OCT lane."""
    preset = PRESETS["sample"]
    lanes = {**preset.lanes, "oct": replace(preset.lanes["oct"], **values)}
    monkeypatch.setitem(PRESETS, "sample", replace(preset, lanes=lanes))


def command(home: Path, undisturbed, *words: str) -> subprocess.CompletedProcess[str]:
    environment = undisturbed.environment | {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    environment["COLUMNS"] = "200"  # tables unbroken
    line = [sys.executable, "-m", "pipeline.cli", *words]
    return subprocess.run(
        line, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )


def processor_seconds(home: Path, undisturbed, *words: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Processor time of a command, and how it ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command(home, undisturbed, *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def test_nothing_is_stale_after_the_whole_lane_nor_after_a_touch(home, undisturbed):
    for path in (home / "sample" / "oct").rglob("*.jpeg"):
        path.touch()
    loading, _ = processor_seconds(home, undisturbed, "experiments", "list")  # which reads the definitions too
    whole, done = processor_seconds(home, undisturbed, "refresh")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Everything is up to date (28 assets): nothing to do" in done.stdout
    assert whole < 2 * loading, (whole, loading)  # machines differ; the command's own imports take most of either


def noise(path: Path) -> None:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, 6, pixels.shape), 0, 255)
    cv2.imwrite(str(path), noisy.astype(np.uint8))


PREPARED = ["oct/images", "oct/tiles", "oct/proxies", "oct/normals"]
TRAINED = {"oct/stage1", "oct/stage2", "oct/members", "oct/detector"}


def test_new_changed_and_removed_test_images_are_evaluated_and_nothing_is_trained(home, undisturbed):
    folder = home / "sample" / "oct" / "OCT2017" / "test"
    changed, removed = sorted((folder / "CNV").glob("*.jpeg"))[:2]
    before, results = evaluated(home)
    removed.unlink()
    assert ran(refresh(home, EVALUATION)) == [*PREPARED, "oct/evaluation"]
    assert not measured(evaluated(home)[1] - results)
    noise(changed)
    source = sorted((folder / "DME").glob("*.jpeg"))[0]
    added = shutil.copy(source, source.with_name("DME-990001-1.jpeg"))
    noise(Path(added))
    preview = command(home, undisturbed, "refresh", "--dry-run")
    assert preview.returncode == 0, preview.stderr[-3000:]
    assert "oct/images" in preview.stdout
    assert "has a new dependency data version: oct/download" in " ".join(preview.stdout.split())
    assert "brain_mri/images" not in preview.stdout
    outcome = refresh(home)
    assert ran(outcome) == [*PREPARED, "oct/evaluation", "evaluation_report"]
    assert {key.to_user_string() for key in outcome.skipped} >= TRAINED
    assert stale(home) == []
    after, new = evaluated(home)
    assert 0 < len(measured(new - results)) <= 2 * RESULTS, "of the changed and the new image alone"
    drawn = new - results - measured(new - results)
    assert len(drawn) < len(new - measured(new)) / 2, "pictures of unchanged images are carried over"
    kept = before.index.intersection(after.index)
    assert len(kept) == len(before) - 2
    assert_frame_equal(after.loc[kept, MEASURED], before.loc[kept, MEASURED], check_exact=True)
    files = held(home)
    shutil.rmtree(home / "stores" / "versions" / "oct" / "evaluation")
    assert ran(refresh(home, EVALUATION)) == ["oct/evaluation"]
    assert held(home) == files, "as an evaluation from nothing"


EVALUATION = "*oct/evaluation"
RESULTS = 9
"""Results that an evaluation of the sample's OCT keeps of one image: scores, R², thumbnail, shortcuts."""
MEASURED = ["proxyano:standardised", "committee:standardised", "shortcut_high_frequency:value"]
TIMED = ("summary.json", "carried.parquet")  # files that hold times


def evaluated(home: Path) -> tuple[pd.DataFrame, set[str]]:
    """Scores by image id, and the keys of the results that later evaluations can reuse."""
    folder = Store(home / "stores").current("oct/evaluation").path
    scores = pd.read_parquet(folder / "scores.parquet").set_index("image_id")
    return scores, set(pd.read_parquet(folder / FILE, columns=["key"])["key"])


def measured(keys: set[str]) -> set[str]:
    """Those of results, not of pictures."""
    return {key for key in keys if "/shown/" not in key}


def held(home: Path) -> dict[str, str]:
    """Hash of every file of the current evaluation that holds no time, and its data version."""
    store = Store(home / "stores")
    version = store.current("oct/evaluation")
    files = {name: file["sha256"] for name, file in store.marker(version)["files"].items() if name not in TIMED}
    return files | {"data version": version.data_version}


def test_a_changed_training_image_is_trained_on(home):
    manifest = pd.read_parquet(Store(home / "stores").current("oct/images").path / "images.parquet")
    noise(home / "sample" / "oct" / manifest.loc[manifest["split"] == "train", "path"].iloc[0])
    assert ran(refresh(home, "*oct/stage1")) == [*PREPARED, "oct/stage1"]
    assert stale(home)[:2] == ["oct/members", "oct/stage2"]


def test_a_changed_hyper_parameter_of_stage_2_leaves_stage_1_alone(home, monkeypatch):
    training = PRESETS["sample"].lanes["oct"].training
    shorter = {
        name: replace(
            canvas, stages={**canvas.stages, "stage2": replace(canvas.stages["stage2"], steps=20, evaluate_every=20)}
        )
        for name, canvas in training.canvases.items()
    }
    changed_plan(monkeypatch, training=replace(training, canvases=shorter))
    assert ran(refresh(home, "*oct/stage2")) == ["oct/stage2"]
    assert stale(home)[0] == "oct/detector"


def test_oct_s_learning_rate_makes_oct_s_training_and_what_follows_stale(home, monkeypatch):
    training = PRESETS["sample"].lanes["oct"].training
    slower = {
        name: replace(
            canvas, stages={stage: replace(config, learning_rate=1e-3) for stage, config in canvas.stages.items()}
        )
        for name, canvas in training.canvases.items()
    }
    changed_plan(monkeypatch, training=replace(training, canvases=slower))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        look = Refresh(build(Settings()), instance, "*evaluation_report")
        due = look.due().keys()
        follow = {key for key in look.selected() if look.above(key) & due} - due
    assert {key.to_user_string() for key in due} == {"oct/stage1", "oct/stage2"}
    assert {key.to_user_string() for key in follow} == {"oct/evaluation", "oct/detector", "evaluation_report"}


def test_a_changed_step_runs_and_what_depends_on_it_is_skipped_if_its_content_stays(home, monkeypatch):
    monkeypatch.setattr(proxies, "VERSION", proxies.VERSION + "b")
    outcome = refresh(home, "*oct/evaluation")
    assert ran(outcome) == ["oct/proxies"]
    (only,) = outcome.ran.values()
    assert only.why == ("has a new code version",)
    assert only.before == only.after


def test_a_changed_step_with_other_content_runs_with_all_that_depends_on_it(home, monkeypatch):
    changed_plan(monkeypatch, proxies=replace(PRESETS["sample"].lanes["oct"].proxies, segments=400))
    assert ran(refresh(home, "*oct/normals")) == ["oct/proxies", "oct/normals"]
    assert stale(home)[:2] == ["oct/members", "oct/stage1"]


def test_a_lost_version_is_made_again_and_a_broken_lane_leaves_the_others_alone(home):
    shutil.rmtree(home / "stores" / "versions" / "oct" / "proxies")
    outcome = refresh(home, "*oct/evaluation")
    assert ran(outcome) == ["oct/proxies"]
    (only,) = outcome.ran.values()
    assert "COMPLETE.json, got no such file" in only.why[0]


def test_what_is_damaged_is_made_again_and_nothing_else(home):
    store = Store(home / "stores")
    before = {asset: store.current(asset).data_version for asset in PREPARED}
    proxies = store.current("oct/proxies").path
    shard = next(path for path in sorted((proxies / "pixels" / "c").rglob("*")) if path.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    pointer = store.root / "current" / "oct" / "tiles.json"
    origins = store.root / "origins" / "oct" / "normals" / f"{before['oct/normals']}.json"
    for record in (pointer, origins):
        record.write_bytes(record.read_bytes()[:-3])
    outcome = refresh(home, "*oct/stage1")
    assert ran(outcome) == ["oct/tiles", "oct/proxies", "oct/normals"]
    assert [reason.partition(" is damaged")[0] for reason in outcome.removed] == [str(pointer), str(origins)]
    tiles, painted, normals = ("; ".join(made.why) for made in outcome.ran.values())
    assert f"{pointer} is damaged" in tiles or "gone" in tiles
    assert f"oct/proxies {proxies.name}: {shard} is damaged: expected" in painted
    assert "its provenance is gone" in normals
    assert {asset: store.current(asset).data_version for asset in PREPARED} == before
    for asset in PREPARED:
        store.verify(store.current(asset))
    assert stale(home) == []


def test_a_killed_run_does_not_run_for_ever(home):
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        job = build(Settings()).resolve_job_def("prepare")
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"proxyano/process": dead()})
        refresh(home)
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE


def dead() -> str:
    """Tag of a process that ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"{socket.gethostname()}/{process.pid}/1.00"
