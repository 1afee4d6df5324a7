"""Does a SavedModel work where only TensorFlow is? A script that runs alone, in a fresh process.

`InfraValidator` copies this file to an empty folder and runs it with `python -I`. It imports the
standard library, numpy and tensorflow, and refuses our packages and Keras, as a serving process
would lack them. It answers with one JSON file:

    {"checks": [{"name", "passed", "value", "threshold", "explanation"}],
     "timings": {signature: {batch size: {"first_ms", "p50_ms", "p99_ms"}}}}

Of `rank` a batch is one request with that many candidates.

The raw inputs and the expected predictions come from `parity.npz`: one array for each input name,
[N] or, for a list, [N, L]; text as fixed-width bytes (missing: empty), a missing number as NaN, a
missing code of a list as 0; `prediction/<task>` [N].
"""

from __future__ import annotations

import argparse
import importlib.abc
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RAW, EXAMPLES, RANK = "serving_default", "serve_examples", "rank"
EXAMPLES_INPUT = "examples"
SCORE, ORDER = "score", "order"
PREDICTION = "prediction/"
OURS = ("rmtl_tf", "components")
KERAS = ("keras", "tf_keras")


class RefuseImports(importlib.abc.MetaPathFinder):
    """Makes the import of our packages and of Keras fail, though they may be installed.

    TensorFlow looks where Keras lies while it is imported, and does without if it does not load: so
    `keras` may be found, but none of its modules.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        package, _, module = fullname.partition(".")
        if package in OURS or (package in KERAS and module):
            raise ImportError(f"{fullname} is not available in a serving process")


class Checks:
    """The checks made so far."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def add(self, name: str, passed: bool, explanation: str) -> bool:
        """Adds a check without a number; returns whether it passed."""
        check = {"name": name, "passed": passed, "value": None, "threshold": None, "explanation": explanation}
        self.all.append(check)
        return passed

    def fail(self, name: str, error: Exception) -> None:
        """Adds a check that an exception made fail."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # TensorFlow puts the place first, then a long graph trace, then the cause.
        lines = lines if len(lines) <= 6 else [lines[0], "...", *lines[-3:]]
        self.add(name, False, "\n".join([f"{type(error).__name__}: {lines[0] if lines else ''}", *lines[1:]]))

    def at_most(self, name: str, value: float, threshold: float, explanation: str) -> None:
        """Adds a check that a number is small enough; NaN is not."""
        self.add(name, value <= threshold, f"{explanation}: {value:.3g}")
        self.all[-1].update(value=value if math.isfinite(value) else None, threshold=threshold)


def read_parity(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The raw inputs {name: [N] or [N, L]} and the expected predictions {task: float32 [N]} of a parity file.

    Raises:
        ValueError: no rows, no predictions, arrays of unequal length or of Python objects.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    raw = {name: values for name, values in arrays.items() if not name.startswith(PREDICTION)}
    expected = {
        name.removeprefix(PREDICTION): values
        for name, values in arrays.items()
        if name.startswith(PREDICTION)
    }
    rows = {values.shape[:1] for values in arrays.values()}
    flat = all(values.ndim == 1 for values in expected.values())
    if not raw or not expected or rows in ({()}, {(0,)}) or len(rows) != 1 or not flat:
        found = {name: list(values.shape) for name, values in arrays.items()}
        raise ValueError(f"expected inputs [N] or [N, L] and {PREDICTION}<task> [N], N > 0; received {found}")
    return raw, expected


def to_examples(raw: Mapping[str, np.ndarray]) -> np.ndarray:
    """Serialized tf.train.Examples, object array [N], of raw inputs {name: [N] or [N, L]}.

    A missing value (empty text, NaN) is left out, as a client would do; of a list, what is missing at its
    end.
    """
    import tensorflow as tf

    examples = []
    for row in range(len(next(iter(raw.values())))):
        features = tf.train.Features()
        for name, values in raw.items():
            kept = _kept(values[row])
            if values.dtype.kind == "S":
                features.feature[name].bytes_list.value.extend(map(bytes, kept))
            elif values.dtype.kind == "f":
                features.feature[name].float_list.value.extend(kept)
            else:
                features.feature[name].int64_list.value.extend(map(int, kept))
            if not len(kept):
                del features.feature[name]
        examples.append(tf.train.Example(features=features).SerializeToString(deterministic=True))
    return np.array(examples, dtype=object)


def _kept(values: np.ndarray) -> np.ndarray:
    """The values of one row, 1-D, that an Example holds: of a list [L] those up to the last that is there."""
    single = np.ndim(values) == 0
    values = np.atleast_1d(values)
    if values.dtype.kind == "S":
        there = values != b""
    elif values.dtype.kind == "f":
        there = ~np.isnan(values)
    else:
        there = (values != 0) | single  # 0 is a number; in a list it is padding
    return values[: 1 + np.flatnonzero(there).max(initial=-1)]


def tile(raw: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """The first `size` rows, all rows repeated as often as needed."""
    return {name: values[np.arange(size) % len(values)] for name, values in raw.items()}


def to_request(raw: Mapping[str, np.ndarray], candidates: Sequence[str]) -> dict[str, np.ndarray]:
    """One request to `rank`: the first row's context [1, ...], all rows' candidates [1, M, ...]."""
    return {name: values[np.newaxis] if name in candidates else values[:1] for name, values in raw.items()}


def of_one_request(raw: Mapping[str, np.ndarray], candidates: Sequence[str]) -> dict[str, np.ndarray]:
    """The same M records as `serving_default` takes them: the first row's context repeated."""
    return {
        name: values if name in candidates else np.repeat(values[:1], len(values), axis=0)
        for name, values in raw.items()
    }


class SignatureProbe:
    """One signature of a loaded model, called with rows of a parity file.

    Args:
        model: what `tf.saved_model.load` returned.
        signature: `serving_default`, `serve_examples` or `rank`.
        raw: {input name: [N] or [N, L]}.
        checks: where the findings go.
    """

    def __init__(self, model: Any, signature: str, raw: Mapping[str, np.ndarray], checks: Checks) -> None:
        self._function = model.signatures[signature]
        self._specs: Mapping[str, Any] = self._function.structured_input_signature[1]
        self._signature = signature
        self._raw = raw
        self._checks = checks

    @property
    def candidates(self) -> list[str]:
        """Of `rank`: the inputs with one more axis than a row has."""
        return [name for name, spec in self._specs.items() if spec.shape.rank > self._raw[name].ndim]

    def accepts(self) -> bool:
        """Checks that the signature's inputs are those the rows have."""
        if self._signature == EXAMPLES:
            wanted = {EXAMPLES_INPUT: "string"}
        else:
            kinds = {name: values.dtype for name, values in self._raw.items()}
            wanted = {name: "string" if kind.kind == "S" else kind.name for name, kind in kinds.items()}
        received = {name: spec.dtype.name for name, spec in self._specs.items()}
        explanation = f"expected {_listed(wanted)}; received {_listed(received)}"
        return self._checks.add(f"{self._signature} inputs", received == wanted, explanation)

    def feed(self, raw: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The tensors to call the signature with."""
        import tensorflow as tf

        if self._signature == EXAMPLES:
            return {EXAMPLES_INPUT: tf.constant(to_examples(raw), tf.string)}
        if self._signature == RANK:
            raw = to_request(raw, self.candidates)
        return {name: tf.constant(values) for name, values in raw.items()}

    def call(self, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self._function(**tensors).items()}

    def time(self, size: int, repeats: int) -> dict[str, float]:
        """Milliseconds of the first and of `repeats` later calls with `size` rows."""
        tensors = self.feed(tile(self._raw, size))
        spent = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            self.call(tensors)
            spent.append(1000 * (time.perf_counter() - began))
        p50, p99 = np.percentile(spent[1:], [50, 99])
        return {
            "first_ms": round(spent[0], 3),
            "p50_ms": round(float(p50), 3),
            "p99_ms": round(float(p99), 3),
        }

    def compare(self, expected: Mapping[str, np.ndarray], tolerance: float) -> None:
        """Checks types, shapes and values of the outputs; `expected` is {task: [N]}."""
        count = len(next(iter(self._raw.values())))
        outputs = self.call(self.feed(self._raw))
        names = sorted({*expected, SCORE})
        received = {
            name: f"{value.dtype.name} {list(value.shape)}" for name, value in sorted(outputs.items())
        }
        fits = received == dict.fromkeys(names, f"float32 [{count}]")
        explanation = f"expected float32 [{count}] for {', '.join(names)}; received {_listed(received)}"
        if not self._checks.add(f"{self._signature} outputs", fits, explanation):
            return
        for task, values in expected.items():
            error = float(np.max(np.abs(outputs[task].astype(np.float64) - values)))
            explanation = f"largest difference to the trainer's predictions over {count} rows"
            self._checks.at_most(f"{self._signature} parity {task}", error, tolerance, explanation)
        error = float(np.max([self._alone(row, outputs) for row in sorted({0, count // 2, count - 1})]))
        explanation = f"largest difference between a row sent alone and in a batch of {count}"
        self._checks.at_most(f"{self._signature} single row", error, tolerance, explanation)

    def compare_order(self, model: Any, tolerance: float) -> None:
        """Checks `rank` against `serving_default`: the same records, the same answers, in falling order."""
        rows = of_one_request(self._raw, self.candidates)
        outputs = self.call(self.feed(self._raw))
        single = SignatureProbe(model, RAW, self._raw, self._checks)
        expected = {name: values[np.newaxis] for name, values in single.call(single.feed(rows)).items()}
        wanted = {name: f"float32 {list(values.shape)}" for name, values in expected.items()}
        wanted[ORDER] = f"int32 {list(expected[SCORE].shape)}"
        received = {name: f"{value.dtype.name} {list(value.shape)}" for name, value in outputs.items()}
        explanation = f"expected {_listed(wanted)}; received {_listed(received)}"
        if not self._checks.add(f"{RANK} outputs", received == wanted, explanation):
            return
        error = max(float(np.max(np.abs(outputs[name] - values))) for name, values in expected.items())
        explanation = f"largest difference to {RAW} over {expected[SCORE].size} candidates"
        self._checks.at_most(f"{RANK} parity", error, tolerance, explanation)
        falling = np.argsort(-outputs[SCORE], axis=1, kind="stable")
        explanation = "places of the candidates by falling score, of equals the first sent"
        self._checks.add(f"{RANK} order", bool((outputs[ORDER] == falling).all()), explanation)

    def _alone(self, row: int, outputs: Mapping[str, np.ndarray]) -> float:
        alone = self.call(self.feed({name: values[row : row + 1] for name, values in self._raw.items()}))
        return float(np.max([abs(alone[name][0] - values[row]) for name, values in outputs.items()]))


def compare_session(
    model: Path,
    raw: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    tolerance: float,
    checks: Checks,
) -> None:
    """Checks the signatures in a session: so TF Serving and Java load a model, and restore its variables
    by another way than `tf.saved_model.load`."""
    import tensorflow as tf

    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(model))
        for name, request in ((RAW, raw), (EXAMPLES, {EXAMPLES_INPUT: to_examples(raw)})):
            signature = loaded.signature_def[name]
            feed = {signature.inputs[key].name: values for key, values in request.items()}
            fetch = {task: signature.outputs[task].name for task in expected}
            outputs = session.run(fetch, feed)
            error = float(np.max([np.max(np.abs(outputs[task] - expected[task])) for task in expected]))
            explanation = "largest difference to the trainer's predictions in a session"
            checks.at_most(f"{name} session", error, tolerance, explanation)


def probe(
    model: Path, parity: Path, batch_sizes: Sequence[int], repeats: int, tolerance: float
) -> dict[str, Any]:
    """The answer (see the module) for a SavedModel directory and a parity file."""
    checks = Checks()
    timings: dict[str, Any] = {}
    answer = {"checks": checks.all, "timings": timings}
    loaded = _attempt(checks, "load", lambda: _load(model))
    rows = _attempt(checks, "parity rows", lambda: read_parity(parity))
    if loaded is None or rows is None:
        return answer
    raw, expected = rows
    known = set(loaded.signatures)
    names = ", ".join(sorted(known)) or "none"
    checks.add("signatures", known >= {RAW, EXAMPLES}, f"expected {RAW} and {EXAMPLES}; received {names}")
    for signature in (RAW, EXAMPLES, RANK):
        if signature not in known:
            continue
        try:
            prober = SignatureProbe(loaded, signature, raw, checks)
            if not prober.accepts():
                continue
            timings[signature] = {str(size): prober.time(size, repeats) for size in batch_sizes}
            if signature == RANK:
                prober.compare_order(loaded, tolerance)
            else:
                prober.compare(expected, tolerance)
        except Exception as error:
            checks.fail(f"{signature} call", error)
    if all(check["passed"] for check in checks.all):  # else it is known what is wrong
        try:
            compare_session(model, raw, expected, tolerance, checks)
        except Exception as error:
            checks.fail("session call", error)
    return answer


def _attempt(checks: Checks, name: str, action: Callable[[], Any]) -> Any:
    """The result of `action`, or None with a failed check."""
    try:
        result = action()
    except Exception as error:
        checks.fail(name, error)
        return None
    checks.add(name, True, "read")
    return result


def _load(model: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(model))


def _listed(types: dict) -> str:
    """`name: type, ...`, for people: the report shows it."""
    return ", ".join(f"{name}: {kind}" for name, kind in sorted(types.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="calls a SavedModel in a process that has only TensorFlow")
    parser.add_argument("--model", type=Path, required=True, help="SavedModel directory")
    parser.add_argument("--parity", type=Path, required=True, help="parity.npz")
    parser.add_argument("--result", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--batch-sizes", type=int, nargs="+", required=True)
    parser.add_argument("--repeats", type=int, required=True, help="timed calls for each batch size")
    parser.add_argument("--tolerance", type=float, required=True, help="largest difference that passes")
    given = parser.parse_args(arguments)
    sys.meta_path.insert(0, RefuseImports())
    answer = probe(given.model, given.parity, given.batch_sizes, given.repeats, given.tolerance)
    given.result.write_text(json.dumps(answer, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
