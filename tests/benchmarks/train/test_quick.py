"""`python -m benchmarks.train --quick` runs every kind of measurement in little time."""

from __future__ import annotations

from benchmarks.train import __main__ as command


def test_the_quick_benchmark_measures_and_prints_without_writing(capsys):
    before = command.PAGE.read_text()
    assert command.main(["--quick", "--no-torch", "--only", "tables", "experts", "weights", "input"]) == 0
    out = capsys.readouterr().out
    for part in ("## tables", "## experts", "## weights", "## input"):
        assert part in out
    assert out.count("| figure | goal |") == 4
    assert command.PAGE.read_text() == before
