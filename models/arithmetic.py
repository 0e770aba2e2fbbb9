"""Reproducible arithmetic on the CPU: the environment variables that give it, and what this machine computes with.

Without them Intel's MKL splits a matrix product by thread count and by number of rows: equal seeds then give different
weights, and a score depends on its batch. MKL's strict mode
(https://www.intel.com/content/www/us/en/docs/onemkl/developer-guide-linux/2024-2/reproducibility-conditions.html)
computes every row the same way on Intel's CPUs, at the same speed. On AMD's a product of fewer than seven rows still
differs in the last digit, so scores are computed one image at a time. Nothing here imports torch at import time.
"""

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

MKL_MODE = "MKL_CBWR"
ENVIRONMENT = {
    MKL_MODE: "AUTO,STRICT",  # MKL: equal products for any number of threads and rows
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads sleep; beside other work spinning ones slow a step 3 to 5 times
}
"""Variable → value for every process of the project; values set by the user are kept."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_STRICT, _COMPATIBLE = 0x10000, 3  # MKL_CBWR_STRICT and MKL_CBWR_COMPATIBLE of mkl_cbwr_get
_ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
_KERNEL_VARIABLES = (MKL_MODE, "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def thread_share(workers: int) -> dict[str, str]:
    """Variable → number of threads, for each of several processes that work side by side on this machine."""
    return dict.fromkeys(_THREADS, str(max(1, (os.cpu_count() or 1) // workers)))


def set_environment(variables: MutableMapping[str, str] = os.environ) -> None:
    """Set the unset variables of `ENVIRONMENT`; call it before torch is imported."""
    for name, value in ENVIRONMENT.items():
        variables.setdefault(name, value)


@cache
def warn_if_not_reproducible() -> None:
    """Warn once per process if matrix products may differ between runs or with the number of rows."""
    import torch

    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    query = getattr(ctypes.CDLL(str(library)), "mkl_serv_cbwr_get", None) if library.is_file() else None
    mode = _COMPATIBLE if query is None else int(query(-1))  # none without MKL, and on systems other than Linux
    if mode & _STRICT or mode == _COMPATIBLE:
        return
    found = os.environ.get(MKL_MODE, "")
    problem = f"{MKL_MODE} is {found or 'not set'}"
    if "STRICT" in found or "COMPATIBLE" in found:
        problem = f"{MKL_MODE}={found} was set after the first matrix product, too late to count"
    why = "equal seeds may give other weights, and a score may depend on its batch"
    remedy = f"Source ./activate, or set {MKL_MODE}={ENVIRONMENT[MKL_MODE]} before Python starts"
    _log.warning("%s: %s. %s", problem, why, remedy)


def release_memory() -> None:
    """Give memory that was let go of back to the system; milliseconds. glibc keeps up to a gigabyte, as told."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # other C libraries have no such function
        trim(0)


@contextmanager
def deterministic() -> Iterator[None]:
    """Use deterministic kernels, if available, inside the block; new memory is not filled: no kernel reads it."""
    import torch

    memory: Any = torch.utils.deterministic
    before, filled = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms imports torch's compiler: two seconds
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = filled
        torch.set_deterministic_debug_mode(before)


def cpu_name() -> str:
    """Name of the processor as reported by the system."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def bfloat16_on_cpu() -> bool:
    """Whether the CPU has bfloat16 instructions that oneDNN may use; slow emulation by plain AVX-512 counts as no."""
    import torch

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    allowed = {os.environ.get(name, "").upper() for name in _ISA_VARIABLES}
    return bool(torch.cpu._is_avx512_bf16_supported()) and not allowed & _WITHOUT_BFLOAT16


def kernels() -> str:
    """Instruction set of torch on this CPU, bfloat16, and the variables that restrict the kernels."""
    import torch

    parts = [torch.backends.cpu.get_cpu_capability(), *(["bf16"] if bfloat16_on_cpu() else [])]
    return ", ".join(parts + [f"{name}={os.environ[name]}" for name in _KERNEL_VARIABLES if os.environ.get(name)])


def machine() -> dict[str, str]:
    """CPU, kernels and thread count by name; the last digits of results depend on them."""
    import torch

    return {"cpu": cpu_name(), "kernels": kernels(), "threads": str(torch.get_num_threads())}
