"""CPU seconds of commands until their first output on a terminal, and in all, in the home of `$PROXYANO_HOME`.

    python -m benchmarks.commands [--code FOLDER] [--times 3]

Runs each command that many times and prints the smallest of each figure. ``--code`` is another checkout to be measured
with the same environment.
"""

import argparse
import os
import pty
import resource
import subprocess
import sys
from pathlib import Path

COMMANDS = (
    "--help",
    "--version",
    "summary",
    "doctor",
    "refresh --dry-run",
    "dataset --help",
    "experiments list --help",
    "score --help",
)
SECOND = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """CPU seconds of a process so far (Linux)."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / SECOND


def measure(words: list[str], checkout: Path) -> tuple[float, float]:
    """CPU seconds until the first output, and in all."""
    before, (inside, outside) = resource.getrusage(resource.RUSAGE_CHILDREN), pty.openpty()
    line = [sys.executable, "-m", "pipeline.cli", *words]
    terminal = {"stdin": outside, "stdout": outside, "stderr": outside}
    process = subprocess.Popen(line, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, **terminal)
    os.close(outside)
    first, printed, shown = 0.0, b"-", b""
    while printed:
        try:
            printed = os.read(inside, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        shown += printed
        first = first or (cpu(process.pid) if printed.strip() else 0.0)
    code = process.wait()
    os.close(inside)
    if code != 0 and not (words == ["doctor"] and code == 1):  # problems found
        raise SystemExit(f"proxyano {' '.join(words)} ended with {code}: {shown.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return first, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    print("| command | to the first output, s | in all, s |\n|---|--:|--:|")
    for command in COMMANDS:
        found = [measure(command.split(), asked.code.resolve()) for _ in range(asked.times)]
        first, whole = (min(column) for column in zip(*found, strict=True))
        print(f"| `proxyano {command}` | {first:.2f} | {whole:.2f} |", flush=True)


if __name__ == "__main__":
    main()
