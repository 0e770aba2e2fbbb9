"""Ctrl-C in tiles, SIGKILL in proxies, stage 1 and the evaluation: the lane resumes and ends as an undisturbed run."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from pipeline.evaluation.carried import FILE

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
SELECT = "*oct/stage1"
STOPPED = "Stopped. The same command resumes."
STAGES = ("oct/images", "oct/tiles", "oct/proxies", "oct/normals", "oct/stage1")


def test_stopped_three_times_it_ends_as_if_undisturbed(undisturbed, make_home):
    home = make_home()
    shutil.copytree(undisturbed.root / "sample", home.root / "sample")
    work = home.root / "stores" / "work"

    def found(pattern: str) -> int:
        return len(list(work.glob(pattern)))

    one_ctrl_c_gives_one_line(home, lambda: found("oct/tiles/*/parts/*.part") >= 2)
    assert set(home.versions()) == {"oct/images"}
    assert found("oct/tiles/*/parts/*.part") >= 2

    home.kill_when(SELECT, lambda: found("oct/proxies/*/laid-out") == 1)  # in the first shard
    assert set(home.versions()) == {"oct/images", "oct/tiles"}
    assert found("oct/proxies/*/laid-out") == 1

    home.kill_when(SELECT, lambda: found("oct/stage1/*/state/wide/*.safetensors") == 1)
    assert set(home.versions()) == {"oct/images", "oct/tiles", "oct/proxies", "oct/normals"}
    assert found("oct/stage1/*/state/wide/*.safetensors") == 1

    code, printed = home.materialize(SELECT)
    assert code == 0, printed[-3000:]
    expected = undisturbed.versions()
    assert home.versions() == {asset: expected[asset] for asset in STAGES}
    for asset in STAGES:
        home.store.verify(home.store.current(asset))
    assert not [path for path in work.rglob("*") if path.is_file()]

    client = home.mlflow
    experiment = client.get_experiment_by_name("oct").experiment_id
    runs = client.search_runs([experiment], "tags.stage = 'stage1'")
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]
    (finished,) = [run for run in runs if run.info.status == "FINISHED"]
    assert finished.data.tags["data_version"] == expected["oct/stage1"]


def one_ctrl_c_gives_one_line(home, ready) -> None:
    """Interrupt a refresh once ``ready`` says so."""
    line = [sys.executable, "-m", "pipeline.cli", "refresh", "--select", "*oct/tiles"]
    with (home.root / "output.txt").open("w") as output:
        process = subprocess.Popen(line, cwd=PROJECT, env=home.environment, stdout=output, stderr=output)
        while not ready():
            assert process.poll() is None, home.printed[-3000:]
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
    assert home.printed.splitlines()[-1] == STOPPED
    assert "Traceback" not in home.printed


def test_a_killed_evaluation_goes_on_with_the_images_that_it_scored(undisturbed, make_home):
    home = make_home()
    shutil.copytree(undisturbed.root, home.root, dirs_exist_ok=True)
    shutil.rmtree(home.root / "stores" / "versions" / "brain_mri" / "evaluation")

    def saved() -> list[Path]:
        return sorted(home.root.glob("stores/work/brain_mri/evaluation/*/parts/*.parquet"))

    home.kill_when("brain_mri/evaluation", lambda: len(saved()) >= 2)
    marked = list[str]()
    for path in saved():  # a leading space changes no value, and a result that is made again has none
        results = pd.read_parquet(path)
        results.assign(values=" " + results["values"]).to_parquet(path, index=False)
        marked += results["key"].tolist()
    code, printed = home.materialize("brain_mri/evaluation")
    assert code == 0, printed[-3000:]
    assert home.versions() == undisturbed.versions()
    kept = pd.read_parquet(home.store.current("brain_mri/evaluation").path / FILE).set_index("key")["values"]
    assert len(kept) > len(marked) > 0
    assert kept.loc[marked].str.startswith(" ").all()
