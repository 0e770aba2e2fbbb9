"""The git commit of the running code."""

import subprocess
from pathlib import Path


def git_commit() -> str:
    """The commit, with ``+changes`` if the work tree differs; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    if commit.returncode != 0:
        return "unknown"
    status = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=False)
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")
