"""The notebook, executed by a kernel of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"


def test_every_cell_runs_and_shows_what_the_text_says(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTART_ROOT", str(tmp_path / "root"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(
        output.text for output in outputs if output.output_type == "stream" and output.name == "stdout"
    )
    assert "InfraValidator: blessed" in text
    assert "Pusher: pushed as version 1" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    rows = re.findall(r"^(i\d) click (\d\.\d+) conversion (\d\.\d+) score (\d\.\d+)$", text, re.MULTILINE)
    assert sorted(row[0] for row in rows) == [f"i{n}" for n in range(10)]
    scores = [float(row[3]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(float(row[2]) < float(row[1]) < 1 for row in rows)


def test_no_output_is_stored():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
