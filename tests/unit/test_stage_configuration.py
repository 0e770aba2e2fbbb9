"""A stage uses the configuration of its plan, also where the stage before was trained with another one."""

from dataclasses import replace

import pytest

from models.checkpoint import load_method, read_description
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from pipeline.store.versions import Store, Version
from pipeline.training import CanvasTraining, Training, TrainingPlan, train_stage
from tests.unit.drawn_detectors import CANVAS, Drawn, draw
from tests.unit.short_training import METHOD

BUDGET = TrainConfig(steps=4, batch_size=4)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw(tmp_path_factory.mktemp("drawn"))


def both_stages(drawn: Drawn, store: Store, model: ProxyAnoConfig) -> tuple[Version, Version]:
    plan = TrainingPlan(
        method="proxyano",
        canvases={
            CANVAS: CanvasTraining(size=(16, 16), model=model, stages={"stage1": BUDGET, "stage2": BUDGET}),
        },
    )
    common = {"tiles": drawn.tiles, "proxies": drawn.proxies, "plan": plan, "seed": 0, "code_version": "1"}
    training = Training(asset="x/stage1", log=lambda step, figures: None, progress=False, **common)
    first = train_stage("stage1", None, training, store)
    return first, train_stage("stage2", first, replace(training, asset="x/stage2"), store)


def test_a_value_of_stage_two_alone_reaches_stage_two(drawn: Drawn, tmp_path) -> None:
    store, other = Store(tmp_path / "stores"), replace(METHOD, lambda_local=2.5)
    before, after = both_stages(drawn, store, METHOD), both_stages(drawn, store, other)
    weights = [read_description(version.path / CANVAS)["weights"] for version in (*before, *after)]
    assert weights[0] == weights[2], "stage 1 does not use this value"
    assert weights[1] != weights[3]
    for version in after:
        config = load_method(version.path / CANVAS).config
        assert isinstance(config, ProxyAnoConfig)
        assert config.lambda_local == 2.5
    assert before[0].data_version != after[0].data_version
    fresh = both_stages(drawn, Store(tmp_path / "fresh"), other)
    assert [one.data_version for one in fresh] == [one.data_version for one in after]
