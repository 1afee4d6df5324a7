"""The page of a study: what was tried, what it gave, what to run. In the style of a run's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from rmtl_tf.config import Choices, FloatRange, Range
from rmtl_tf.files import write_text
from rmtl_tf.report import text
from rmtl_tf.report.page import page_text
from rmtl_tf.report.svg import INK, MUTED, PAPER, panel, series
from rmtl_tf.tuning.results import FAILED, PRUNED, Outcome, Results
from rmtl_tf.tuning.space import shown
from rmtl_tf.tuning.space import text as yaml_text

_SHOWN = 200  # trials in the table, the best first
_FINISHED, _BEST = series(1), series(2)


def write_tuning_report(found: Results, page: Path, name: str) -> None:
    """Writes the page of a study in which at least one trial finished. Same results: same bytes."""
    write_text(page, render(found, name))


def render(found: Results, name: str) -> str:
    """The page as text."""
    best = found.best
    assert best is not None
    configured = {trial.number: trial for trial in found.trials}.get(found.configured or 0)
    return page_text(
        Path(__file__).parent / "tuning.html.jinja",
        {"number": text.number, "duration": text.duration, "percent": text.percent, "value": _value},
        name=name,
        tune=found.tune,
        title=_title(found),
        trials=found.trials,
        best=best,
        configured=configured if found.configured is not None else None,
        settings=shown(best.values),
        pruned=found.of(PRUNED),
        failed=found.of(FAILED),
        ranges={path: _range(given) for path, given in found.tune.space.items()},
        importance=sorted(found.importance.items(), key=lambda item: -item[1]),
        progress=_progress(found),
        epochs=_epochs(found),
        fields=[_field(found, place, path) for place, path in enumerate(found.tune.space)],
        rows=[*found.ranked, *found.of(PRUNED)][:_SHOWN],
        left_out=max(len(found.ranked) + len(found.of(PRUNED)) - _SHOWN, 0),
    )


def _title(found: Results) -> str:
    metric, _, task = found.tune.metric.partition("/")
    name = {"auc": "AUC", "logloss": "Logloss"}[metric]
    return f"validation {name} of {task}" if task else f"mean validation {name}"


def _progress(found: Results) -> Markup:
    """Every trial's value, and the best so far."""
    done = sorted(found.ranked, key=lambda trial: trial.number)
    numbers = np.array([trial.number for trial in done])
    values = np.array([trial.value for trial in done])
    best = np.maximum.accumulate(values) if found.tune.maximise else np.minimum.accumulate(values)
    with panel("progress", "Finished trials in their order, and the best so far") as (axes, result):
        axes.step(numbers, best, where="post", color=_BEST, lw=1.5, zorder=1)
        axes.plot(numbers, values, "o", color=_FINISHED, ms=4.5, zorder=2)
        _whole_numbers(axes)
        axes.set(xlabel="trial", ylabel=_title(found))
    return result[0]


def _epochs(found: Results) -> list[Markup]:
    """The metric after every epoch of each phase, a line a trial; pruned ones dashed, the best thick."""
    drawn = []
    titles = {"pretraining": "Pretraining", "own": f"Training of {found.tune.arm}"}
    for name, title in titles.items():
        lines = [(trial, getattr(trial, name)) for trial in found.trials if getattr(trial, name)]
        if not lines:
            continue
        with panel(f"epochs-{name}", title) as (axes, result):
            for trial, values in lines:
                axes.plot(range(1, len(values) + 1), values, **_look(found, trial))
            _whole_numbers(axes)
            axes.set(xlabel="epoch", ylabel=_title(found))
        drawn.append(result[0])
    return drawn


def _look(found: Results, trial: Outcome) -> dict[str, Any]:
    if trial == found.best:
        return {"color": _BEST, "lw": 2.2, "marker": "o", "ms": 4, "zorder": 3}
    if trial.state == PRUNED:
        return {"color": MUTED, "lw": 0.9, "linestyle": (0, (4, 2)), "marker": ".", "ms": 3, "zorder": 1}
    return {"color": _FINISHED, "lw": 0.9, "marker": ".", "ms": 4, "zorder": 2}


def _field(found: Results, place: int, path: str) -> Markup:
    """The metric of finished trials against one field."""
    given = found.tune.space[path]
    trials = [*found.ranked[1:], found.ranked[0]]  # the best is drawn last, above the others
    with panel(f"field-{place}", path, width=3.5, height=2.4) as (axes, result):
        if isinstance(given, Choices):
            names = [_value(choice) for choice in given.choices]
            where: list[Any] = [names.index(_value(trial.values[path])) for trial in trials]
            axes.set_xticks(range(len(names)), [text.shorten(name, 16) for name in names])
            axes.set_xlim(-0.5, len(names) - 0.5)
            if len(names) > 3:
                axes.tick_params(axis="x", rotation=30)
        else:
            where = [trial.values[path] for trial in trials]
            if given.log:
                _logarithmic(axes)
        values = [trial.value or 0.0 for trial in trials]
        axes.plot(where[:-1], values[:-1], "o", color=_FINISHED, ms=4.5)
        axes.plot(where[-1:], values[-1:], "D", color=_BEST, ms=7, mec=PAPER, mew=0.8)
        if found.configured is not None:
            for x, y, trial in zip(where, values, trials, strict=True):
                if trial.number == found.configured:
                    axes.plot([x], [y], "o", ms=9, mfc="none", mec=INK, mew=1.1)
        axes.set(ylabel=_title(found))
    return result[0]


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _whole_numbers(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def _range(given: Range) -> str:
    if isinstance(given, Choices):
        return ", ".join(_value(choice) for choice in given.choices)
    bounds = f"{given.low:g} to {given.high:g}"
    if given.log:
        return f"{bounds}, by orders of magnitude"
    if isinstance(given, FloatRange) or given.step == 1:
        return bounds
    return f"{bounds} in steps of {given.step}"


def _value(value: Any) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else yaml_text(value)
