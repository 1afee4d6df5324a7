"""One attempt at a call by REST, over connections that stay open, one a thread."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.client import Input
from serving.retry import ServingError

_CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
_TYPES = {"DT_STRING": "string", "DT_FLOAT": "float32", "DT_INT64": "int64"}


class RestTransport:
    """`/v1/models/<model>` of one server; values go as columns, text as base64."""

    def __init__(self, address: str, model: str, label: str | None, version: int | None) -> None:
        self._address, self._model = address, f"/v1/models/{model}"
        chosen = (
            f"/labels/{label}" if label is not None else f"/versions/{version}" if version is not None else ""
        )
        self._path = self._model + chosen
        self._local = threading.local()

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        columns = {name: _json(value.tolist()) for name, value in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        outputs = self._ask("POST", f"{self._path}:predict", timeout, body)["outputs"]
        return {
            name: np.asarray(v, np.int32 if name == "order" else np.float32) for name, v in outputs.items()
        }

    def signatures(self, timeout: float) -> dict[str, dict[str, Input]]:
        found = self._ask("GET", f"{self._path}/metadata", timeout)["metadata"]["signature_def"]
        found = found.get("signature_def", found)
        return {
            signature: {
                name: Input(_TYPES[info["dtype"]], len(info.get("tensor_shape", {}).get("dim", ())))
                for name, info in definition["inputs"].items()
            }
            for signature, definition in found.items()
            if all(info.get("dtype") in _TYPES for info in definition.get("inputs", {}).values())
            and "inputs" in definition
        }

    def versions(self, timeout: float) -> list[int]:
        states = self._ask("GET", self._model, timeout)["model_version_status"]
        return sorted(int(state["version"]) for state in states if state["state"] == "AVAILABLE")

    def close(self) -> None:
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()

    def _ask(self, method: str, path: str, timeout: float, body: bytes | None = None) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self._address)
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except TimeoutError as error:
            connection.close()
            raise ServingError("DEADLINE_EXCEEDED", f"no answer within {timeout:.3g} s") from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServingError("UNAVAILABLE", f"{type(error).__name__}: {error}") from error
        if response.status != 200:
            raise ServingError(_CODES.get(response.status, "INTERNAL"), _message(text))
        return json.loads(text)


def _json(values: Any) -> Any:
    if isinstance(values, list):
        return [_json(value) for value in values]
    if isinstance(values, str | bytes):
        raw = values.encode() if isinstance(values, str) else values
        return {"b64": base64.b64encode(raw).decode()}
    return values


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace")[:1000]
