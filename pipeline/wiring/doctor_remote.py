"""The checks of ``proxyano doctor`` that ask other machines: buckets and the dask scheduler."""

from contextlib import suppress
from uuid import uuid4

from pipeline.errors import ProxyAnoError
from pipeline.wiring.doctor_checks import Finding

_TIMEOUT = 3.0  # seconds


def bucket(url: str) -> Finding:
    """Whether objects below the URL can be written, read and written under a condition, by one that is removed."""
    name, probe = "PROXYANO_STORE", f"doctor/{uuid4().hex}"
    remedy = "check PROXYANO_STORE, AWS_ENDPOINT_URL, AWS_REGION and the access keys"
    try:
        from pipeline.store.remote import Moved, Remote

        remote = Remote(url, patience=_TIMEOUT)
        tag = remote.write(probe, b"1", after=None)
        with suppress(Moved):
            remote.write(probe, b"2", after=None)
            return Finding(
                "PROXYANO_STORE", "problem", f"{url} writes over what exists", "use a store with If-None-Match"
            )
        found = remote.write(probe, b"3", after=tag) != tag and remote.read(probe)
        remote.remove([probe])
    except ModuleNotFoundError as error:
        return Finding(name, "problem", f"no package {error.name}", "pip install 'proxyano[bucket]'")
    except ProxyAnoError as error:
        return Finding(name, "problem", str(error), remedy)
    if not found or found[0] != b"3":
        return Finding(name, "problem", f"{url}: expected what was written, got {found}", remedy)
    return Finding(name, "ok", f"{url} can be read and written")


def raw_bucket(url: str, dataset: str) -> Finding:
    """Whether raw files of a data set lie below the URL."""
    name, remedy = f"raw {dataset}", "check PROXYANO_RAW, AWS_ENDPOINT_URL, AWS_REGION and the access keys"
    try:
        from pipeline.data.bucket import VARIABLE
        from pipeline.store.remote import Remote

        objects = Remote(url, patience=_TIMEOUT, variable=VARIABLE).objects()
    except ProxyAnoError as error:
        return Finding(name, "problem", str(error), remedy)
    size = sum(size for _, size in objects.values()) / 1e9
    found = f"{len(objects)} objects, {size:.2f} GB below {url}"
    return Finding(name, "ok", found) if objects else Finding(name, "problem", found, remedy)


def cluster(address: str) -> Finding:
    """Whether the dask scheduler answers, and its number of workers."""
    from distributed import Client

    remedy = "start the scheduler and its workers, or unset DASK_SCHEDULER_ADDRESS"
    try:
        with Client(address, timeout=_TIMEOUT, set_as_default=False) as client:
            workers = len(client.scheduler_info(n_workers=-1)["workers"])
    except (OSError, ValueError) as error:
        return Finding("dask", "problem", f"{address} does not answer: {error}", remedy)
    if not workers:
        return Finding("dask", "problem", f"{address} has no workers", remedy)
    return Finding("dask", "ok", f"{address}, {workers} workers")
