"""The ablations on the sample: experiments as partitions, what they share made once, a report of what stands."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from assets.benchmark import due
from pipeline.cli import app
from pipeline.definitions import build, lanes_of
from pipeline.evaluation.saved import load_evaluation
from pipeline.experiments.ablations import DECIDING
from pipeline.reports.run_results import ABLATIONS, read_claims, run_rows
from pipeline.store.clean import clean
from pipeline.store.lineage import closure
from pipeline.store.versions import Store
from pipeline.training import Training, train_method
from pipeline.wiring.settings import Settings

LANE = "oct_plain"
MADE = ("enc_dec", "si_mem_rep", "final")


@pytest.fixture(scope="module")
def home(undisturbed, tmp_path_factory):
    """A copy of the made sample with three experiments on OCT with the form off and one with edges on OCT."""
    root = tmp_path_factory.mktemp("experiments") / "home"
    shutil.copytree(undisturbed.root, root)
    environment = undisturbed.environment | {"PROXYANO_HOME": str(root), "DAGSTER_HOME": str(root / "dagster")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for name in ("PROXYANO_RAW", "PROXYANO_PRESET", "PROXYANO_SEED", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as the tests have it: two threads round differently
        materialize(root, f"{LANE}/tiles", f"{LANE}/proxies")
        for name in MADE:
            materialize(root, f"{LANE}/ablations", partition=name)
        materialize(root, "oct/ablations", partition="proxy_edge_patches")
        materialize(root, "ablation_report")
        torch.set_num_threads(threads)
        yield root


def materialize(root: Path, *assets: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
    definitions = build(Settings())
    with dg.DagsterInstance.from_config(str(root / "dagster")) as instance:
        return dg.materialize(
            list(definitions.assets),
            resources=dict(definitions.resources),
            instance=instance,
            selection=dg.AssetSelection.assets(*(dg.AssetKey(asset.split("/")) for asset in assets)),
            partition_key=partition,
        )


def lane_of(name: str):
    return next(lane for lane in lanes_of(Settings()) if lane.dataset.name == name)


def test_what_experiments_share_is_made_once(home):
    store = Store(home / "stores")
    assert len(store.versions(f"{LANE}/ablation_methods")) == 2, "final is si_mem_rep, read by another score"
    (first,) = store.versions(f"{LANE}/ablation_stage1")
    assert not store.versions(f"{LANE}/ablation_proxies"), "the lane's own superpixels do"
    held = {name: store.current(f"{LANE}/ablations/{name}") for name in MADE}
    inputs = {name: store.provenance(version.asset, version.data_version).inputs for name, version in held.items()}
    assert inputs["final"] == inputs["si_mem_rep"]
    assert inputs["final"][first.asset] == first.data_version
    assert f"{LANE}/ablation_stage1" not in inputs["enc_dec"]


def test_stages_that_are_shared_give_the_weights_of_a_method_trained_alone(home):
    store, lane = Store(home / "stores"), lane_of(LANE)
    row = lane.lane.ablations["final"]
    tiles, proxies = (store.current(f"{LANE}/{stage}") for stage in ("tiles", "proxies"))
    training = Training(
        asset=f"{LANE}/alone",
        tiles=tiles,
        proxies=proxies,
        plan=row.training,
        seed=row.seed,
        code_version="1",
        log=lambda step, figures: None,
        progress=False,
    )
    alone = train_method(training, store)
    shared = store.provenance(f"{LANE}/ablations/final", store.pointed(f"{LANE}/ablations/final")).inputs
    assert alone.meta["canvases"] == store.get(alone_of(shared), shared[alone_of(shared)]).meta["canvases"]


def alone_of(inputs: dict[str, str]) -> str:
    return next(asset for asset in inputs if asset.endswith("/ablation_methods"))


def test_every_experiment_is_scored_in_both_spaces_like_a_run_of_the_benchmark(home):
    store = Store(home / "stores")
    for name in MADE:
        lane = load_evaluation(store.current(f"{LANE}/ablations/{name}").path)
        method = lane.about("method")
        assert {f"{method}:{score}" for score in ("latent", "image", "standardised")} <= set(lane.scores)
        assert sum(sum(stages.values()) for stages in lane.about("budget").values()) == 20
        assert lane.about("entry") == name
    edges = load_evaluation(store.current("oct/ablations/proxy_edge_patches").path)
    assert edges.about("budget").keys() == {"wide", "tight"}
    (proxies,) = store.versions("oct/ablation_proxies")
    assert proxies.meta["kind"] == "edge_patches"


def test_what_stands_is_not_missing_and_is_not_made_again(home):
    store = Store(home / "stores")
    assert [each.name for each in due([lane_of(LANE)], store, ["ablations"])] == [
        name for name in DECIDING if name not in MADE
    ]
    before = {asset: store.versions(asset) for asset in store.assets()}
    result = materialize(home, f"{LANE}/ablations", partition="final")
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {
        "proxy_values": True,
        "weights_finite": True,
        "scores_complete": True,
    }
    assert {asset: store.versions(asset) for asset in store.assets()} == before


def test_lineage_reaches_the_shared_parts_and_clean_keeps_them(home):
    store = Store(home / "stores")
    top = (f"{LANE}/ablations/enc_dec", store.pointed(f"{LANE}/ablations/enc_dec"))
    behind = {asset for asset, _ in closure(store, [top])}
    assert {f"{LANE}/ablation_methods", f"{LANE}/tiles", "oct/images"} <= behind
    parts = [store.versions(f"{LANE}/ablation_{what}") for what in ("methods", "stage1")]
    clean(store, keep=1, delete=True)
    assert [store.versions(f"{LANE}/ablation_{what}") for what in ("methods", "stage1")] == parts


def test_the_report_shows_tables_claims_and_proxies(home):
    folder = home / "reports" / "ablation_report"
    text = (folder / "report.md").read_text()
    assert "Table IV: which component" in text
    assert "| latent feature space | score image → latent |" in text
    assert "Not run: 2×EncDec + SI, 2×EncDec + SI + mem and 2×EncDec + SI + rep." in text
    records = pd.DataFrame(json.loads((folder / "report.json").read_text()))
    assert set(records[records["dataset"] == LANE]["method"]) == set(MADE)
    page = (folder / "index.html").read_text()
    assert all(f"{name}_proxies.png" in page for name in ("brain_mri", "oct", "idrid"))


def test_results_get_every_experiment_and_the_claims_on_raw_images(home):
    store = Store(home / "stores")
    rows = pd.DataFrame(run_rows(store, ABLATIONS, 0))
    plain = rows[(rows["dataset"] == LANE) & (rows["metric"] == "auroc") & (rows["score"] == "standardised")]
    assert set(plain["method"]) == set(MADE)
    assert set(rows["commit"]) != {"unknown"}
    assert (rows["minutes"] > 0).all()
    claims = {(one["dataset"], one["form"], one["where"]): one for one in read_claims(store, ABLATIONS)}
    latent = claims["oct", "raw", "Table V"]
    (difference,) = latent["differences"]
    assert (difference["better"], difference["worse"], set(difference["values"])) == ("final", "si_mem_rep", {"seed 0"})
    assert 0 < difference["p"] <= 1
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert claims["oct", "canonical", "Fig. 11"]["verdict"] == "cannot be told here"


def test_the_command_lists_compares_and_names_what_is_missing(home):
    def said(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["experiments", *words], env={"COLUMNS": "220"})
        assert done.exit_code == code, done.output
        return " ".join(done.output.split())

    assert f"{LANE}/si_mem" in said("list")
    assert "against si: model.memory none → nearest" in said("show", "si_mem")
    assert "first stage and proxies shared with: si_mem, si_mem_rep" in said("show", f"{LANE}/final")
    assert "model.memory" in said("diff", "si", "si_mem")
    assert said("diff", f"{LANE}/si", f"{LANE}/si") == "They differ in nothing."
    lacking = said("run", "--dry-run", f"{LANE}/final", f"{LANE}/si_mem")
    assert "1 of 2 experiments are to be made" in lacking
    assert f"{LANE}/si_mem: 2×EncDec + SI + mem" in lacking
    assert "got 'oct/no_such'" in said("show", "oct/no_such", code=2)
