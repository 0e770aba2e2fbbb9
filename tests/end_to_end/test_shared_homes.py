"""Two homes that share a bucket of a real S3 server: what one has made, the other need not make."""

import shutil

import dagster as dg
import pytest
from typer.testing import CliRunner

pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")

from benchmarks.object_server import BUCKET, serving, variables
from pipeline.cli import app
from pipeline.data.decode import read_frames
from pipeline.definitions import build
from pipeline.detectors.folder.output import read_table
from pipeline.detectors.frozen.files import read_detector
from pipeline.store import cache
from pipeline.store.provenance import RECORDS
from pipeline.store.shared import SharedStore
from pipeline.store.verify import MARKER
from pipeline.wiring.refresh import Refresh
from pipeline.wiring.settings import Settings

pytestmark = pytest.mark.slow
SELECTED = "*oct/evaluation"


def test_a_home_that_has_built_nothing_has_nothing_to_build_and_scores(undisturbed, make_home, monkeypatch, tmp_path):
    home, url = make_home(), f"s3://{BUCKET}/sample"
    for place in (*(f"stores/{kind}/oct" for kind in ("versions", *RECORDS)), "sample"):
        shutil.copytree(undisturbed.root / place, (home.root if place == "sample" else tmp_path) / place)
    with serving() as port:
        for name, value in (home.environment | variables(port) | {"PROXYANO_STORE": url}).items():
            monkeypatch.setenv(name, value)
        SharedStore(tmp_path / "stores", url).share()
        with home.instance() as instance:
            look = Refresh(build(Settings()), instance, SELECTED)
            outcome = look.run(lambda *wave: None)
            assert not outcome.ran
            assert len(outcome.skipped) == len(outcome.selected) == 9
            assert look.due() == {}
            event = instance.get_latest_materialization_event(dg.AssetKey(["oct", "evaluation"]))
            events = len(instance.all_logs(event.run_id)) if event.run_id else 0
            assert event.asset_materialization.description.startswith("made on another machine: git commit ")
            assert events == 0, "a run was started"
        versions = home.root / "stores" / "versions"
        assert list(versions.rglob(MARKER)) == [], "to know that nothing is to be made, files were fetched"
        made = {key.to_user_string() for key in outcome.selected}
        assert home.versions() == {name: version for name, version in undisturbed.versions().items() if name in made}
        image = sorted((home.root / "sample" / "oct").rglob("*.jpeg"))[0]
        words = ["--dataset", "oct", "--out", str(tmp_path / "scores"), "--no-overlays", "--device", "cpu"]
        done = CliRunner().invoke(app, ["score", str(image), *words])
        assert done.exit_code == 0, done.output
        assert [path.parent.parent.name for path in versions.rglob(MARKER)] == ["detector"]
        cache.keep([])
    alone = read_detector(undisturbed.store.current("oct/detector").path, device="cpu")
    (frame,) = read_frames(image)
    assert float(read_table(tmp_path / "scores" / "scores.csv")["score"][0]) == pytest.approx(
        alone.score(frame.pixels).score, rel=1e-6
    )
