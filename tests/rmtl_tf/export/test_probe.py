"""The probe on tiny SavedModels: a right one, and one for each way to be wrong."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.export import probe

ROWS = 7
RAW = {
    "item": np.array([b"a", b"bb", b"", b"a", "é".encode(), b"bb", b"a"], "S"),
    "price": np.array([1.5, np.nan, 0.25, 3.0, -1.0, 0.0, 2.0], np.float32),
    "timestamp": np.array([0, 1, 2, 3, 4, 5, -1], np.int64),
}


def expected_click(raw: dict[str, np.ndarray]) -> np.ndarray:
    """The tiny model's formula in numpy: a missing price counts as 0, a missing item has length 0."""
    length = np.array([len(text) for text in raw["item"]])
    price = np.nan_to_num(raw["price"])
    return 1 / (1 + np.exp(-(0.5 * length + price - 0.1 * raw["timestamp"])))


class Tiny(tf.Module):
    """Raw inputs -> click, score. Subclasses are wrong in one way."""

    names = ("click", "score")

    def predict(self, item: Any, price: Any, timestamp: Any) -> dict[str, Any]:
        price = tf.where(tf.math.is_nan(price), tf.zeros_like(price), price)
        logit = (
            0.5 * tf.cast(tf.strings.length(item), tf.float32) + price - 0.1 * tf.cast(timestamp, tf.float32)
        )
        click = tf.sigmoid(logit)
        return {"click": self.click(click), "score": click**2}

    def click(self, click: Any) -> Any:
        return click

    def parse(self, examples: Any) -> dict[str, Any]:
        spec = {
            "item": tf.io.FixedLenFeature([], tf.string, ""),
            "price": tf.io.FixedLenFeature([], tf.float32, math.nan),
            "timestamp": tf.io.FixedLenFeature([], tf.int64, -1),
        }
        return tf.io.parse_example(examples, spec)

    def save(self, directory: Path, signatures: tuple[str, ...] = (probe.RAW, probe.EXAMPLES)) -> Path:
        raw = {
            "item": tf.TensorSpec([None], tf.string, "item"),
            "price": tf.TensorSpec([None], tf.float32, "price"),
            "timestamp": tf.TensorSpec([None], tf.int64, "timestamp"),
        }
        examples = tf.TensorSpec([None], tf.string, "examples")
        functions = {
            probe.RAW: tf.function(lambda **inputs: self.predict(**inputs)).get_concrete_function(**raw),
            probe.EXAMPLES: tf.function(
                lambda examples: self.predict(**self.parse(examples))
            ).get_concrete_function(examples),
        }
        tf.saved_model.save(self, str(directory), {name: functions[name] for name in signatures})
        return directory


class Wrong(Tiny):
    def click(self, click: Any) -> Any:
        return click + 2e-6


class Nan(Tiny):
    def click(self, click: Any) -> Any:
        return click * math.nan


class OtherType(Tiny):
    def click(self, click: Any) -> Any:
        return tf.cast(click, tf.float64)


class OtherShape(Tiny):
    def click(self, click: Any) -> Any:
        return click[:, None]


class BatchDependent(Tiny):
    def predict(self, item: Any, price: Any, timestamp: Any) -> dict[str, Any]:
        outputs = super().predict(item, price, timestamp)
        return {**outputs, "score": outputs["score"] / tf.reduce_sum(outputs["score"])}


class OtherDefault(Tiny):
    """Reads an absent price otherwise than NaN: right for raw inputs, wrong for Examples."""

    def parse(self, examples: Any) -> dict[str, Any]:
        parsed = super().parse(examples)
        return {**parsed, "price": tf.where(tf.math.is_nan(parsed["price"]), 1.0, parsed["price"])}


class KeepsKerasVariable(Tiny):
    """Tracks a Keras variable: Python's loader restores the variable inside it, a session a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.one = keras.Variable(1.0)

    def click(self, click: Any) -> Any:
        return click * self.one


class NeedsPython(Tiny):
    """Calls back into Python: works here, not where the model is served."""

    def click(self, click: Any) -> Any:
        result = tf.numpy_function(lambda x: x, [click], tf.float32)
        result.set_shape(click.shape)
        return result


def parity(path: Path, **changes: np.ndarray) -> Path:
    arrays: dict[str, Any] = {**RAW, "prediction/click": expected_click(RAW).astype(np.float32), **changes}
    np.savez(path, **arrays)
    return path


def ask(model: Path, rows: Path, repeats: int = 2) -> tuple[dict[str, Any], dict[str, Any]]:
    """Checks by name, and timings."""
    answer = probe.probe(model, rows, batch_sizes=[1, 20], repeats=repeats, tolerance=1e-6)
    json.dumps(answer, allow_nan=False)
    return {check["name"]: check for check in answer["checks"]}, answer["timings"]


def failed(checks: dict[str, Any]) -> set[str]:
    return {name for name, check in checks.items() if not check["passed"]}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("good")
    return Tiny().save(folder / "model"), parity(folder / "parity.npz")


class TestRightModel:
    def test_every_check_passes_and_records_its_error(self, good: tuple[Path, Path]) -> None:
        checks, _ = ask(*good)
        assert failed(checks) == set()
        for signature in (probe.RAW, probe.EXAMPLES):
            for name in (f"{signature} {what}" for what in ("parity click", "single row", "session")):
                assert 0 <= checks[name]["value"] <= checks[name]["threshold"] == 1e-6
        assert {"load", "parity rows", "signatures"} < set(checks)

    def test_every_signature_and_batch_size_is_timed(self, good: tuple[Path, Path]) -> None:
        _, timings = ask(*good, repeats=5)
        assert set(timings) == {probe.RAW, probe.EXAMPLES}
        for sizes in timings.values():
            assert set(sizes) == {"1", "20"}
            for times in sizes.values():
                assert 0 < times["p50_ms"] <= times["p99_ms"]
                assert times["first_ms"] > 0


@pytest.mark.parametrize(
    ("model", "broken"),
    [
        (Wrong, {"serving_default parity click", "serve_examples parity click"}),
        (
            Nan,
            {
                f"{s} {c}"
                for s in ("serving_default", "serve_examples")
                for c in ("parity click", "single row")
            },
        ),
        (OtherType, {"serving_default outputs", "serve_examples outputs"}),
        (OtherShape, {"serving_default outputs", "serve_examples outputs"}),
        (BatchDependent, {"serving_default single row", "serve_examples single row"}),
        (OtherDefault, {"serve_examples parity click"}),
        (KeepsKerasVariable, {"session call"}),
    ],
)
def test_each_fault_fails_its_own_check(tmp_path: Path, model: Callable[[], Tiny], broken: set[str]) -> None:
    checks, _ = ask(model().save(tmp_path / "model"), parity(tmp_path / "parity.npz"))
    assert failed(checks) == broken


def test_missing_signature_is_named_and_the_other_is_still_checked(tmp_path: Path) -> None:
    model = Tiny().save(tmp_path / "model", signatures=(probe.RAW,))
    checks, _ = ask(model, parity(tmp_path / "parity.npz"))
    assert failed(checks) == {"signatures"}
    assert (
        checks["signatures"]["explanation"]
        == "expected serving_default and serve_examples; received serving_default"
    )
    assert "serving_default parity click" in checks


@pytest.mark.parametrize(
    "changes",
    [{"colour": np.array([b"red"] * ROWS)}, {"price": np.zeros(ROWS, np.float64)}],
    ids=["unknown name", "other type"],
)
def test_rows_the_signature_does_not_accept_are_refused(
    good: tuple[Path, Path], tmp_path: Path, changes: dict[str, np.ndarray]
) -> None:
    checks, timings = ask(good[0], parity(tmp_path / "parity.npz", **changes))
    assert probe.RAW not in timings
    assert "serving_default inputs" in failed(checks)
    assert "price: float32" in checks["serving_default inputs"]["explanation"]


def test_folder_that_is_no_saved_model_fails_to_load(tmp_path: Path) -> None:
    checks, timings = ask(tmp_path, parity(tmp_path / "parity.npz"))
    assert failed(checks) == {"load"}
    assert timings == {}


class TestParityFile:
    def test_inputs_and_predictions_are_told_apart(self, tmp_path: Path) -> None:
        raw, expected = probe.read_parity(parity(tmp_path / "parity.npz"))
        assert set(raw) == set(RAW)
        assert set(expected) == {"click"}

    @pytest.mark.parametrize(
        "arrays",
        [
            {"item": np.array([b"a"])},
            {"prediction/click": np.zeros(1, np.float32)},
            {"item": np.array([b"a", b"b"]), "prediction/click": np.zeros(1, np.float32)},
            {"item": np.zeros(0, "S1"), "prediction/click": np.zeros(0, np.float32)},
            {"item": np.zeros((2, 1)), "prediction/click": np.zeros((2, 1), np.float32)},
            {"past": np.zeros((2, 5)), "prediction/click": np.zeros(5, np.float32)},
            {"item": np.array(b"a"), "prediction/click": np.zeros((), np.float32)},
        ],
        ids=[
            "no predictions",
            "no inputs",
            "unequal lengths",
            "no rows",
            "two dimensions",
            "lists of other rows",
            "no dimension",
        ],
    )
    def test_rows_that_prove_nothing_are_refused(self, tmp_path: Path, arrays: dict[str, Any]) -> None:
        np.savez(tmp_path / "parity.npz", **arrays)
        with pytest.raises(ValueError, match=r"prediction/<task> \[N\], N > 0; received"):
            probe.read_parity(tmp_path / "parity.npz")

    def test_lists_of_any_length_stand_beside_single_values(self, tmp_path: Path) -> None:
        past = np.zeros((ROWS, 3), np.int64)
        raw, _ = probe.read_parity(parity(tmp_path / "parity.npz", past=past))
        assert raw["past"].shape == (ROWS, 3)

    def test_python_objects_are_refused(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "parity.npz", item=np.array([b"a"], object), **{"prediction/click": np.zeros(1)})
        with pytest.raises(ValueError, match="allow_pickle"):
            probe.read_parity(tmp_path / "parity.npz")


class TestExamples:
    def test_values_are_kept_and_missing_ones_left_out(self) -> None:
        parsed = [tf.train.Example.FromString(text) for text in probe.to_examples(RAW)]
        assert len(parsed) == ROWS
        assert "price" not in parsed[1].features.feature
        assert "item" not in parsed[2].features.feature
        assert parsed[4].features.feature["item"].bytes_list.value[:] == ["é".encode()]
        assert parsed[3].features.feature["price"].float_list.value[:] == [3.0]
        assert parsed[6].features.feature["timestamp"].int64_list.value[:] == [-1]

    def test_of_a_list_only_what_is_missing_at_its_end_is_left_out(self) -> None:
        lists = {
            "past": np.array([[b"a", b"", b"c", b""], [b"", b"", b"", b""]], "S"),
            "price": np.array([[1.0, np.nan, np.nan, np.nan], [np.nan, 2.0, np.nan, np.nan]], np.float32),
            "code": np.array([[0, 3, 0, 0], [0, 0, 0, 0]], np.int64),
        }
        first, second = (tf.train.Example.FromString(e).features.feature for e in probe.to_examples(lists))
        assert first["past"].bytes_list.value[:] == [b"a", b"", b"c"]
        assert first["price"].float_list.value[:] == [1.0]
        assert first["code"].int64_list.value[:] == [0, 3]
        assert set(second) == {"price"}
        np.testing.assert_array_equal(second["price"].float_list.value, [np.nan, 2.0])

    def test_same_rows_give_the_same_bytes(self) -> None:
        assert probe.to_examples(RAW).tolist() == probe.to_examples(dict(reversed(RAW.items()))).tolist()


def test_tile_repeats_all_rows_in_order() -> None:
    tiled = probe.tile({"a": np.array([1, 2, 3])}, 7)["a"]
    assert tiled.tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert probe.tile({"a": np.array([1, 2, 3])}, 2)["a"].tolist() == [1, 2]


@pytest.mark.parametrize("name", ["rmtl_tf.config", "components", "keras.layers", "tf_keras.src"])
def test_our_packages_and_keras_cannot_be_imported(name: str) -> None:
    with pytest.raises(ImportError, match="not available in a serving process"):
        probe.RefuseImports().find_spec(name)


@pytest.mark.parametrize("name", ["keras", "numpy", "tensorflow.io", "rmtl_tfx"])
def test_other_packages_are_left_to_the_usual_finders(name: str) -> None:
    probe.RefuseImports().find_spec(name)


def test_script_alone_in_a_folder_loads_a_model_and_has_nothing_of_ours(
    good: tuple[Path, Path], tmp_path: Path
) -> None:
    script = tmp_path / "alone.py"
    text = Path(importlib.import_module("rmtl_tf.export.probe").__file__ or "").read_text()
    found = "[name for name in ('keras', 'rmtl_tf', 'components') if name in sys.modules]"
    tail = f"\n    import tensorflow\n    print({found})\n"
    script.write_text(text.rstrip() + tail)
    model, rows = good
    command = [sys.executable, "-I", str(script), "--model", str(model), "--parity", str(rows)]
    command += [
        "--result",
        str(tmp_path / "result.json"),
        "--batch-sizes",
        "1",
        "--repeats",
        "2",
        "--tolerance",
        "1e-6",
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    answer = json.loads((tmp_path / "result.json").read_text())
    assert all(check["passed"] for check in answer["checks"])
    assert process.stdout.strip() == "[]"
