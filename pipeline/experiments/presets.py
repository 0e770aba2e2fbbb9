"""The presets: named sets of lanes. ``sample`` and ``quick`` are written out in ``lanes``; the others change them."""

from dataclasses import replace

from models.methods.proxyano_config import ProxyAnoConfig
from pipeline.experiments.ablations import BOTH_SCORES, ROWS, ablations
from pipeline.experiments.benchmark import LONG_BUDGET, QUICK_BUDGET, QUICK_DEEP, QUICK_SIZES, QUICK_SLIM, SAMPLE_RUNS
from pipeline.experiments.lane import SAMPLE_SHARD, SEEDS, Lane, Preset
from pipeline.experiments.lanes import brain_mri, idrid, oct, plain, user_dataset

PATIENCE = 15  # evaluations on validation normals without improvement, before the learning rate falls to zero
MOST_STEPS = {"stage1": 12000, "stage2": 9000}


def full(lane: Lane) -> Lane:
    """The lane with the adversarial loss, trained until validation says that it has converged; no ablations."""
    judged = {"adversarial": True, "generator_loss": "non_saturating", "discriminator_widths": (16, 32, 64, 64)}
    canvases = {}
    for canvas, own in lane.training.canvases.items():
        stages = {
            name: replace(stage, steps=MOST_STEPS[name], schedule="plateau", patience=PATIENCE)
            for name, stage in own.stages.items()
        }
        canvases[canvas] = replace(own, model=ProxyAnoConfig.from_json(own.model.to_json() | judged), stages=stages)
    return replace(lane, training=replace(lane.training, canvases=canvases), ablations={})


QUICK_LANES = {"brain_mri": brain_mri.QUICK, "oct": oct.QUICK, "idrid": idrid.QUICK}
LONG_ABLATIONS = {
    "brain_mri": ablations({"head": (64, 64)}, LONG_BUDGET, QUICK_DEEP, names=BOTH_SCORES, seeds=SEEDS),
    "oct": ablations({"wide": (64, 64), "tight": (32, 128)}, LONG_BUDGET, QUICK_SLIM, seeds=SEEDS),
    "idrid": {},
}
PRESETS = {
    "sample": Preset(
        reason="the built-in sample in minutes: drawings that small networks learn to reconstruct and to repair",
        lanes={"brain_mri": brain_mri.SAMPLE, "oct": oct.SAMPLE, "idrid": idrid.SAMPLE},
        user_datasets=user_dataset.SAMPLE,
        form_off={"oct": plain.form_off(SAMPLE_RUNS, SAMPLE_RUNS, shard=SAMPLE_SHARD)},
    ),
    "quick": Preset(
        reason="real data on two CPU cores: canonical forms, 128 px training, no adversarial loss",
        lanes=QUICK_LANES,
        user_datasets=user_dataset.QUICK,
        form_off={"oct": plain.form_off((QUICK_BUDGET, QUICK_SIZES), (QUICK_BUDGET, QUICK_SLIM), seeds=SEEDS)},
    ),
    "full": Preset(
        reason="quick's lanes trained until validation says that they converged, adversarial loss on",
        lanes={name: replace(full(lane), ablations=LONG_ABLATIONS[name]) for name, lane in QUICK_LANES.items()},
        user_datasets=user_dataset.FULL,
        form_off={"oct": plain.form_off((QUICK_BUDGET, QUICK_SIZES), (LONG_BUDGET, QUICK_SLIM), seeds=SEEDS)},
    ),
    "paper": Preset(
        reason="the paper's sizes and weights, canonical forms off; meant for a GPU",
        lanes={
            "brain_mri": plain.paper(names=BOTH_SCORES),
            "oct": plain.paper(names=ROWS),
            "idrid": plain.paper("field_of_view", "field", idrid.QUICK.evaluation),
        },
        user_datasets=user_dataset.PAPER,
    ),
}
