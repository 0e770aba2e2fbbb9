"""A PostgreSQL server of one's own, in a temporary folder and on a free port: for tests and benchmarks.

    with server() as postgres: ...

Its binaries come from Debian's package `postgresql`. The server refuses to run as root, so root starts it as `nobody`.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "proxyano", "not:for/others"
DATABASES = ("dagster", "mlflow")
OTHER_USER = "nobody" if os.geteuid() == 0 else None


def binaries() -> Path | None:
    """Folder with `initdb` and `pg_ctl`; None if PostgreSQL is not installed."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[4]))
    found = newest[-1] if newest else shutil.which("pg_ctl")
    return Path(found).parent if found else None


@dataclass(frozen=True)
class Server:
    """A running server with the databases `dagster` and `mlflow`."""

    binaries: Path
    folder: Path
    port: int

    def environment(self) -> dict[str, str]:
        """The variables that make Dagster and MLflow use it."""
        return dict(zip(("PROXYANO_DATABASE", "MLFLOW_TRACKING_URI"), map(self.address, DATABASES), strict=True))

    def address(self, database: str) -> str:
        """SQLAlchemy's address of a database."""
        return f"postgresql+psycopg2://{USER}:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{self.port}/{database}"

    def run(self, command: str, *words: str) -> None:
        """One of PostgreSQL's commands, as the user that may run it; ``RuntimeError`` with its output if it fails."""
        line = [str(self.binaries / command), *words]
        told = {"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"], "LC_ALL": "C"}
        with (self.folder / "output.txt").open("a+") as output:  # a pipe would stay open as long as the server runs
            who = {"user": OTHER_USER, "extra_groups": []} if OTHER_USER else {}
            done = subprocess.run(line, env=told, stdout=output, stderr=output, cwd=self.folder, check=False, **who)
        if done.returncode:
            raise RuntimeError(f"{' '.join(line)}: {(self.folder / 'output.txt').read_text()[-2000:]}")

    def control(self, action: str, *words: str) -> None:
        """`pg_ctl` start, stop or restart; waits until that is done."""
        self.run("pg_ctl", action, "-w", "-D", str(self.folder / "data"), *words)


@contextmanager
def server() -> Iterator[Server]:
    """A new server until the block ends; ``RuntimeError`` where PostgreSQL is not installed or does not start."""
    place = binaries()
    if place is None:
        raise RuntimeError("no PostgreSQL on this machine; run: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="proxyano-postgres-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Server(place, folder, port)
    try:
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            shutil.chown(path, OTHER_USER or os.geteuid())
        found.run("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8", "-N")
        options = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=off")
        found.control("start", "-l", str(folder / "log"), "-o", f"-p {port} -c {' -c '.join(options)}")
        for name in DATABASES:
            found.run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", USER, name)
        yield found
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            found.control("stop", "-m", "immediate")
        shutil.rmtree(folder)
