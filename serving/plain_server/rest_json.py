"""TF Serving's JSON of a predict request and its answer: rows (`instances`) or columns (`inputs`)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.plain_server.errors import RequestError

Specs = Mapping[str, tf.TensorSpec]


def parse_predict(body: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object of a request, and whether it has rows.

    Raises:
        RequestError: it is none, or has not exactly one of `instances` and `inputs`.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError("INVALID_ARGUMENT", f"JSON parse error: {error}") from error
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise RequestError("INVALID_ARGUMENT", "expected an object with either `instances` or `inputs`")
    if not isinstance(request.get("signature_name", ""), str):
        raise RequestError("INVALID_ARGUMENT", "`signature_name`: expected a string")
    return request, "instances" in request


def to_arrays(request: Mapping[str, Any], rows: bool, specs: Specs) -> dict[str, np.ndarray]:
    """Input name -> array; the name may be left out where there is one input.

    Raises:
        RequestError: a value does not fit the input it is for, which is named.
    """
    if not rows:
        columns = request["inputs"]
        if not isinstance(columns, dict) or _is_bytes(columns):
            columns = {_only(specs): columns}
    else:
        instances = request["instances"]
        if not isinstance(instances, list) or not instances:
            raise RequestError("INVALID_ARGUMENT", "`instances`: expected a list that is not empty")
        objects = [i if isinstance(i, dict) and not _is_bytes(i) else {_only(specs): i} for i in instances]
        if any(i.keys() != objects[0].keys() for i in objects):
            raise RequestError("INVALID_ARGUMENT", "`instances`: expected the same inputs in every row")
        columns = {name: [i[name] for i in objects] for name in objects[0]}
    return {name: _array(name, values, specs.get(name)) for name, values in columns.items()}


def to_answer(outputs: Mapping[str, np.ndarray], rows: bool) -> dict[str, Any]:
    """The answer in the form of the request: `predictions` for rows, `outputs` for columns."""
    lists = {name: _json(values.tolist()) for name, values in outputs.items()}
    if not rows:
        return {"outputs": next(iter(lists.values())) if len(lists) == 1 else lists}
    if len(lists) == 1:
        return {"predictions": next(iter(lists.values()))}
    return {
        "predictions": [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    }


def _only(specs: Specs) -> str:
    if len(specs) != 1:
        raise RequestError(
            "INVALID_ARGUMENT", f"expected an object with the inputs {', '.join(sorted(specs))}"
        )
    return next(iter(specs))


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _array(name: str, values: Any, spec: tf.TensorSpec | None) -> np.ndarray:
    if spec is None:
        raise RequestError("INVALID_ARGUMENT", f"the signature has no input {name!r}")
    try:
        if spec.dtype == tf.string:
            nested = _strings(values)
            return np.array(nested, object) if np.size(nested) else np.empty(np.shape(nested), object)
        _check_numbers(values, spec.dtype.is_floating)
        return np.array(values, spec.dtype.as_numpy_dtype)
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError) as error:
        expected = f"{spec.dtype.name} {spec.shape}"
        raise RequestError("INVALID_ARGUMENT", f"input {name!r}: expected {expected}: {error}") from error


def _strings(values: Any) -> Any:
    if isinstance(values, list):
        return [_strings(value) for value in values]
    if isinstance(values, str):
        return values.encode()
    if _is_bytes(values):
        return base64.b64decode(values["b64"], validate=True)
    raise TypeError(f"{type(values).__name__} is no string")


def _check_numbers(values: Any, floating: bool) -> None:
    if isinstance(values, list):
        for value in values:
            _check_numbers(value, floating)
    elif isinstance(values, bool) or not isinstance(values, (int, float) if floating else int):
        raise TypeError(f"{type(values).__name__} is no {'number' if floating else 'integer'}")


def _json(values: Any) -> Any:
    if isinstance(values, list):
        return [_json(value) for value in values]
    return {"b64": base64.b64encode(values).decode()} if isinstance(values, bytes) else values
