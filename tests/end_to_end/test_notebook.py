"""The notebook of the documentation runs from its first cell to its last on the sample."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOK = PROJECT / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(undisturbed):
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 4
    lines = [*("".join(cell["source"]) for cell in cells), "print(len(table), table['score'].is_monotonic_decreasing)"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=PROJECT,
        env=undisturbed.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    count, ordered = done.stdout.split()[-2:]
    assert int(count) > 8
    assert ordered == "True"


def test_every_output_is_that_of_a_cell_that_was_run():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells)
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])
