"""Two lanes side by side, a process a step: the versions are those of the run in one process."""

import shutil

import dagster as dg
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.timeout(600)
def test_lanes_run_in_processes_of_their_own_and_give_equal_versions(make_home, undisturbed, monkeypatch):
    home = make_home()
    shutil.copytree(undisturbed.root / "sample", home.root / "sample")
    wanted = [f"{dataset}/{stage}" for dataset in ("brain_mri", "oct") for stage in ("images", "tiles", "proxies")]
    code, printed = home.materialize("*brain_mri/proxies,*oct/proxies", PROXYANO_EXECUTOR="multiprocess")
    assert code == 0, printed[-3000:]
    assert home.versions() == {name: version for name, version in undisturbed.versions().items() if name in wanted}
    with home.instance() as instance:
        (run,) = instance.get_runs()
        started = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED)
    assert run.is_success
    assert {one.step_key for one in started} == {name.replace("/", "__") for name in wanted}
    assert len({one.dagster_event.pid for one in started}) == len(wanted)
    shutil.rmtree(home.root)
