"""The wheel beside a user's own packages: it installs one name, and both sides work."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline import load_detector

PROJECT = Path(__file__).resolve().parents[2]
OWN = ("models", "assets", "pipeline")
USE = """
import json, sys
import assets, models, pipeline
assert (assets.OWN, models.OWN, pipeline.OWN) == ("assets", "models", "pipeline")
import proxyano
from proxyano.pipeline import definitions
from proxyano.pipeline.store.versions import Store
from proxyano.pipeline.wiring.registry import save
import mlflow, pandas as pd
home, image, target = sys.argv[1:]
version = Store(home + "/stores").current("oct/detector")
save(__import__("pathlib").Path(target), version)
served = mlflow.pyfunc.load_model(target).predict(pd.DataFrame({"image": [open(image, "rb").read()]}))
found = proxyano.load_detector(str(version.path), device="cpu").score(image)
print(json.dumps({"score": found.score, "served": float(served["score"].iloc[0]), "at": proxyano.__file__,
                  "graph": len(definitions.defs.resolve_asset_graph().get_all_asset_keys())}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the installed wheel, and a user's folder with packages of the same names as the repository's."""
    root = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=PROJECT, capture_output=True, check=True
    ).stdout
    for name in listed.decode().split("\0"):
        if name.startswith((*OWN, "proxyano.py", "setup.py", "pyproject.toml", "README.md", "LICENSE")):
            (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "source" / name).write_bytes((PROJECT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", root / "dist", root / "source"], check=True)
    (wheel,) = (root / "dist").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", root / "site", wheel], check=True)
    for name in OWN:
        (root / "user" / name).mkdir(parents=True)
        (root / "user" / name / "__init__.py").write_text(f'OWN = "{name}"\n')
    return root


def test_the_wheel_holds_one_package(installed):
    (wheel,) = (installed / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"proxyano"}


@pytest.mark.slow
def test_it_works_beside_packages_of_the_same_names(installed, undisturbed):
    image = next((undisturbed.root / "sample").rglob("oct/**/test/**/*.jpeg"))
    environment = undisturbed.environment | {"PYTHONPATH": f"{installed / 'user'}:{installed / 'site'}"}
    command = [sys.executable, "-c", USE, undisturbed.root, image, installed / "model"]
    done = subprocess.run(command, cwd=installed / "user", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    detector = load_detector(undisturbed.store.current("oct/detector").path, device="cpu")
    assert seen["at"].startswith(str(installed / "site"))
    assert seen["score"] == pytest.approx(detector.score(image).score, abs=1e-6)
    assert seen["served"] == pytest.approx(seen["score"], abs=1e-6)
    assert seen["graph"] > 20


def test_the_command_starts_beside_them(installed, tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{installed / 'user'}:{installed / 'site'}"}
    environment["PROXYANO_HOME"] = str(tmp_path)
    command = [sys.executable, "-c", "from proxyano import app; app()", "--version"]
    done = subprocess.run(command, cwd=installed / "user", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
