"""Reproducible arithmetic: set where processes start, told by doctor, and a warning where it is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.arithmetic import ENVIRONMENT, MKL_MODE, bfloat16_on_cpu, kernels, machine, set_environment

PROJECT = Path(__file__).resolve().parents[2]
PRODUCT = "import torch; torch.ones(9, 9) @ torch.ones(9, 9)"
WARN = "from models.arithmetic import warn_if_not_reproducible as warn; warn(); warn()"


def printed(code: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT} | variables
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


def test_variables_of_the_user_stay() -> None:
    variables = {MKL_MODE: "COMPATIBLE"}
    set_environment(variables)
    assert variables == ENVIRONMENT | {MKL_MODE: "COMPATIBLE"}


@pytest.mark.parametrize("module", ["pipeline.cli", "pipeline.definitions", "pipeline.wiring.served_model", "pipeline"])
def test_every_way_in_sets_them_before_torch(module: str) -> None:
    watch = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': print('seen', os.environ.get('MKL_CBWR'), flush=True) or os._exit(0)\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import {module}\n"
        "import torch"
    )
    assert "seen AUTO,STRICT" in printed(watch)


def test_activate_sets_the_same_values() -> None:
    lines = (PROJECT / "activate").read_text()
    assert all(f'export {name}="${{{name}:-{value}}}"' in lines for name, value in ENVIRONMENT.items())


@pytest.mark.slow
def test_a_process_without_them_warns_once() -> None:
    assert printed(WARN).count("MKL_CBWR is not set: equal seeds may give other weights") == 1
    assert "MKL_CBWR" not in printed(WARN, MKL_CBWR="AUTO,STRICT")
    assert "MKL_CBWR" not in printed(f"import pipeline; {WARN}")


@pytest.mark.slow
@pytest.mark.parametrize(("value", "counts"), [("COMPATIBLE", True), ("AVX2", False)])
def test_the_mode_in_force_is_asked_of_mkl(value: str, counts: bool) -> None:
    late = f"import os, torch; torch.ones(9, 9) @ torch.ones(9, 9); os.environ['MKL_CBWR'] = '{value}'; {WARN}"
    assert ("MKL_CBWR" in printed(WARN, MKL_CBWR=value)) is not counts
    assert ("too late to count" in printed(late)) is counts


def test_products_do_not_depend_on_run_order_or_threads() -> None:
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(5000, 64, generator=draw), torch.randn(64, 128, generator=draw)
    shuffled = torch.randperm(len(left), generator=draw)
    torch.set_num_threads(1)
    once = left @ right
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert torch.equal(left @ right, once)
        assert torch.equal(left[shuffled] @ right, once[shuffled])


def test_the_machine_is_named() -> None:
    found = machine()
    assert found["cpu"]
    assert MKL_MODE in found["kernels"]
    assert int(found["threads"]) >= 1


@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE", "avx512_core_vnni"])
def test_kernels_without_bfloat16_train_in_full_precision(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    assert not bfloat16_on_cpu()
    assert "bf16" not in kernels().split(", ")
