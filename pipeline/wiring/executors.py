"""Where Dagster runs the steps of a run: in its process, in processes of this machine, or on a cluster."""

from collections.abc import Mapping
from importlib import import_module

import dagster as dg

from pipeline.errors import ConfigError

EXECUTORS: Mapping[str, tuple[str, str]] = {  # name → (module, executor); the module's package is its name with dashes
    "in_process": ("dagster", "in_process_executor"),
    "multiprocess": ("dagster", "multiprocess_executor"),
    "dask": ("dagster_dask", "dask_executor"),
    "docker": ("dagster_docker", "docker_executor"),
    "k8s": ("dagster_k8s", "k8s_job_executor"),
    "celery": ("dagster_celery", "celery_executor"),
}
FORKED = {"start_method": {"forkserver": {"preload_modules": ["pipeline.definitions"]}}}
"""Steps in processes of this machine are forked from one that has imported everything: an import takes seconds."""


def executor(name: str) -> dg.ExecutorDefinition:
    """The executor of a name; ``ConfigError`` for another name and for a package that is not installed."""
    if name not in EXECUTORS:
        raise ConfigError(f"PROXYANO_EXECUTOR: expected one of {', '.join(EXECUTORS)}, got {name!r}")
    module, attribute = EXECUTORS[name]
    try:
        found = getattr(import_module(module), attribute)
    except ImportError as error:
        package = module.replace("_", "-")
        raise ConfigError(
            f"PROXYANO_EXECUTOR={name} needs the package {package}; run: pip install {package}"
        ) from error
    assert isinstance(found, dg.ExecutorDefinition)
    return found.configured(FORKED, name=name) if name == "multiprocess" else found
