"""``proxyano lineage`` and ``proxyano clean`` on a home that the main lane filled."""

import json
import shutil

import dagster as dg
import pytest
import typer
from typer.testing import CliRunner

from pipeline.commands.clean import clean
from pipeline.commands.lineage import lineage
from pipeline.store.versions import Store

DATASETS = ("brain_mri", "oct", "idrid")
STAGES = ("images", "tiles", "proxies", "normals", "stage1", "stage2", "members", "detector", "evaluation")

pytestmark = pytest.mark.slow

app = typer.Typer()
app.command()(lineage)
app.command()(clean)


@pytest.fixture
def proxyano(monkeypatch):
    """Run a command on a home; its exit code, what it printed, and its words of complaint."""

    def run(root, *words):
        monkeypatch.setenv("PROXYANO_HOME", str(root))
        for name in ("PROXYANO_RAW", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture(scope="module")
def copied(undisturbed, tmp_path_factory):
    """Stores and downloads of the home, to be damaged."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("stores", "sample"):
        shutil.copytree(undisturbed.root / name, root / name)
    return root


@pytest.fixture
def flipped():
    """Flip a byte in the middle of a file for the length of a test."""
    kept = {}

    def flip(path):
        kept[path] = path.read_bytes()
        content = bytearray(kept[path])
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return path

    yield flip
    for path, content in kept.items():
        path.write_bytes(content)


def test_the_untouched_chain_goes_down_to_the_raw_files_and_matches(undisturbed, proxyano):
    code, printed, _ = proxyano(undisturbed.root, "lineage", "evaluation_report", "--verify")
    assert code == 0
    versions = undisturbed.versions()
    assert len(versions) == 28
    places = {stage: printed.index(f"oct/{stage} {versions[f'oct/{stage}']}\n") for stage in STAGES}
    order = [places[stage] for stage in reversed(STAGES) if stage != "members"]
    assert order == sorted(order)  # evaluation, detector, checkpoints, normals, proxies, tiles, images
    assert places["evaluation"] < places["members"]
    assert printed.index(str(undisturbed.root / "sample" / "oct")) > order[-1]
    for asset, data_version in versions.items():
        assert printed.count(f"made {undisturbed.store.marker(undisturbed.store.current(asset))['created']}")
        assert printed.count(f"{asset} {data_version}\n") == 1
    assert "all 28 versions and " in printed
    assert "raw files match" in printed


def test_the_chain_is_the_same_in_the_store_in_dagster_and_in_mlflow(undisturbed, proxyano):
    code, printed, _ = proxyano(undisturbed.root, "lineage", "report", "--json")
    assert code == 0
    rows = {row["asset"]: row for row in json.loads(printed)["versions"]}
    with undisturbed.instance() as instance:
        for asset, row in rows.items():
            event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
            metadata = {key: value.value for key, value in event.asset_materialization.metadata.items()}
            origin = row["origin"]
            assert metadata["inputs"] == origin["inputs"]
            for name in ("code_version", "git_commit"):
                assert metadata[name] == origin[name]
            assert metadata["mlflow_run_id"] == origin["mlflow_run"]
            tags = undisturbed.mlflow.get_run(origin["mlflow_run"]).data.tags
            read = {key.removeprefix("input."): value for key, value in tags.items() if key.startswith("input.")}
            assert read == origin["inputs"]
            assert (tags["data_version"], tags["dagster.run_id"]) == (row["data_version"], origin["dagster_run"])
            if origin["raw"]:
                assert tags["raw.fingerprint"] == origin["raw"]["fingerprint"]
    assert set(rows) == set(undisturbed.versions())
    assert [name for name, row in rows.items() if row["origin"]["raw"]] == [f"{name}/images" for name in DATASETS]


@pytest.mark.parametrize(
    "pattern",
    [
        "sample/oct/OCT2017/test/NORMAL/*.jpeg",
        "stores/versions/oct/tiles/*/pixels/c/**/0",
        "stores/versions/oct/stage2/*/wide/*.safetensors",
    ],
)
def test_one_flipped_byte_is_found_and_its_file_named(copied, proxyano, flipped, pattern):
    path = flipped(next(path for path in sorted(copied.glob(pattern)) if path.is_file()))
    command = ("lineage", "evaluation_report", "--verify", "--raw", str(copied / "sample"))
    code, printed, _ = proxyano(copied, *command)
    assert code == 1
    assert f"where     {path}\n" in printed
    assert printed.count("  where  ") == 1
    assert "1 finding in" in printed


def test_a_copy_that_nobody_touched_matches_where_it_lies_now(copied, proxyano):
    command = ("lineage", "oct/evaluation", "--verify", "--raw", str(copied / "sample"))
    assert proxyano(copied, *command)[0] == 0


def test_it_starts_at_an_mlflow_run_a_version_or_a_report_file(undisturbed, proxyano):
    versions = undisturbed.versions()

    def tops(of):
        code, printed, complaint = proxyano(undisturbed.root, "lineage", of, "--json")
        assert code == 0, complaint
        return {tuple(top) for top in json.loads(printed)["of"]}

    origin = undisturbed.store.provenance("oct/stage2", versions["oct/stage2"])
    wanted = {("oct/stage2", versions["oct/stage2"])}
    assert tops(origin.mlflow_run) == wanted
    assert tops(f"oct/stage2@{versions['oct/stage2'][:8]}") == tops(versions["oct/stage2"]) == wanted
    parent = undisturbed.mlflow.get_run(origin.mlflow_run).data.tags["mlflow.parentRunId"]
    assert tops(parent) == {(f"oct/{stage}", versions[f"oct/{stage}"]) for stage in STAGES}
    folder = undisturbed.root / "reports" / "evaluation_report"
    report = {("evaluation_report", versions["evaluation_report"])}
    assert tops(str(folder)) == tops(str(folder / "report.json")) == tops("report") == report


@pytest.mark.parametrize("of", ["oct/nothing", "0" * 32, "oct/tiles@ffffffff", "nowhere.html"])
def test_an_unknown_name_gets_one_sentence(undisturbed, proxyano, of):
    code, printed, complaint = proxyano(undisturbed.root, "lineage", of)
    assert (code, printed) == (2, "")
    assert len(complaint.strip().splitlines()) == 1
    assert of.rpartition("@")[2] in complaint


def test_clean_says_what_could_go_and_takes_nothing_that_the_report_stands_on(copied, proxyano):
    store = Store(copied / "stores")
    (store.work("oct/stage1", "a" * 16) / "half").write_text("half")
    code, printed, _ = proxyano(copied, "clean", "--keep", "1")
    assert code == 0
    assert f"work {'a' * 16}" in printed
    assert "Nothing was touched" in printed
    assert store.work("oct/stage1", "a" * 16).joinpath("half").is_file()
    before = {asset: store.current(asset).data_version for asset in store.assets()}
    code, printed, _ = proxyano(copied, "clean", "--keep", "1", "--delete")
    assert code == 0
    assert "Removed" in printed
    assert {asset: store.current(asset).data_version for asset in store.assets()} == before
    assert "Nothing to remove" in proxyano(copied, "clean")[1]
    assert not (copied / "mlflow.db").exists()
