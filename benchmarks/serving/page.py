"""The generated section of docs/performance-serving.md, from saved results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.document import table
from benchmarks.serving.measure import BATCHES, KERAS_TEXT, SESSION

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def report(results: Results) -> str:
    """Markdown of {backbone: {part: what it found}}: a table a backbone, the goals and what was reached."""
    lines = []
    for backbone, parts in results.items():
        times = {name: found for part in parts.values() for name, found in part["times"].items()}
        rows = [
            [name, *(f"{found[str(b)][0]:.2f} / {found[str(b)][1]:.2f}" for b in BATCHES)]
            for name, found in times.items()
        ]
        header = ["milliseconds, p50 / p99", *(f"batch {batch} " for batch in BATCHES)]
        lines += ["", f"**{backbone}**, paper's size", "", table(header, rows), ""]
        lines += [f"- {line}" for line in _findings(parts, times)]
    measured = [
        f"{backbone} {part}: {found['machine']} {found['repeats']} calls each, load of the machine at the "
        f"end {found['load']:.1f}."
        for backbone, parts in results.items()
        for part, found in parts.items()
    ]
    return "\n".join([*lines[1:], "", "How each part was measured:", "", *(f"- {line}" for line in measured)])


def _findings(parts: Mapping[str, Mapping[str, Any]], times: Mapping[str, Any]) -> list[str]:
    found = []
    batches = ", ".join(map(str, BATCHES))
    if "process" in parts:
        first, p99 = parts["process"]["first"], times[SESSION]["1"][1]
        found.append(
            f"First call after loading: {first['cold']:.1f} ms as it is, {first['warm']:.2f} ms after the "
            f"warm-up (goal: 2 x p99 = {2 * p99:.2f})."
        )
        found.append(
            f"SavedModel in a session / compiled Keras from text, median, batch {batches}: "
            f"{_ratios(times[SESSION], times[KERAS_TEXT])} (goal: at most 1.10)."
        )
    torch = parts.get("torch", {"times": {}, "missing": None})
    for start in ("text", "ids"):
        forms = [by_batch for name, by_batch in torch["times"].items() if name.endswith(f"from {start}")]
        if forms and SESSION in times:
            fastest = {str(b): min(form[str(b)] for form in forms) for b in BATCHES}
            goal = " (goal: at least 1.5)" if start == "text" else ", though ours begins with text"
            found.append(
                f"PyTorch's fastest form from {start} / SavedModel in a session, median, batch {batches}: "
                f"{_ratios(fastest, times[SESSION])}{goal}."
            )
    if torch["times"]:
        found.append(f"Largest difference of a probability to PyTorch's: {torch['error']:.1e}.")
    if torch["missing"]:
        found.append(f"Not run in PyTorch: {torch['missing']}.")
    if "grpc" in parts:
        rates = ", ".join(f"{rate:.0f} at batch {batch}" for batch, rate in parts["grpc"]["rates"].items())
        found.append(f"Requests a second by gRPC, two clients: {rates}.")
    return found


def _ratios(above: Mapping[str, Any], below: Mapping[str, Any]) -> str:
    return ", ".join(f"{above[str(batch)][0] / below[str(batch)][0]:.2f}" for batch in BATCHES)
