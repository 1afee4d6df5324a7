"""Calling a served model: the same three lines by gRPC and by REST.

    client = GrpcClient("localhost:8500", "shop", label="stable")  # or RestClient("localhost:8501", ...)
    ranking = client.rank({"user": "ann"}, [{"product": "a", "price": 3.0}, {"product": "b"}])
    best = ranking.order[0], ranking.score, ranking.tasks["click"]

Types and shapes come from the model's own metadata, so a value that does not fit is refused here by the name
of its input, and what a request leaves out is missing, as in training. A server without labels gets no
`label`; where a canary is loaded, a request without one goes to the canary, since it is the newest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from serving.retry import Retry, ServingError

RANK = "rank"
_MISSING: dict[str, Any] = {"string": b"", "float32": np.nan, "int64": -1}
_NUMPY: dict[str, Any] = {"string": object, "float32": np.float32, "int64": np.int64}


@dataclass(frozen=True)
class Input:
    """An input of a signature: `string`, `float32` or `int64`, and its number of axes."""

    dtype: str
    axes: int


@dataclass(frozen=True)
class Ranking:
    """What the model says of M candidates, in the order they were sent.

    Attributes:
        order: [M] int, places of the candidates, the best first.
        score: [M] float32.
        tasks: task -> probabilities [M] float32.
    """

    order: np.ndarray
    score: np.ndarray
    tasks: dict[str, np.ndarray]


class Transport(Protocol):
    """One attempt at a call; raises `ServingError`."""

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]: ...

    def signatures(self, timeout: float) -> dict[str, dict[str, Input]]: ...

    def versions(self, timeout: float) -> list[int]: ...

    def close(self) -> None: ...


class Client:
    """Calls one model; safe to share between threads.

    Args:
        transport: gRPC or REST.
        timeout: seconds for a call with all its retries.
        retry: which failures are tried again, and when.
    """

    def __init__(self, transport: Transport, timeout: float, retry: Retry | None = None) -> None:
        self._transport, self._timeout, self._retry = transport, timeout, retry or Retry()
        self._signatures: dict[str, dict[str, Input]] | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def predict(self, inputs: Mapping[str, Any], signature: str = "serving_default") -> dict[str, np.ndarray]:
        """The outputs of a signature.

        Args:
            inputs: every input by name, as arrays or nested lists of its type and number of axes.

        Raises:
            ValueError: an input is missing, unknown, or does not fit the signature.
            ServingError: the server did not answer, or with an error.
        """
        specs = self.inputs(signature)
        if inputs.keys() != specs.keys():
            missing, extra = sorted(specs.keys() - inputs.keys()), sorted(inputs.keys() - specs.keys())
            raise ValueError(f"{signature}: expected {sorted(specs)}; missing {missing}, unknown {extra}.")
        arrays = {name: _array(name, value, specs[name]) for name, value in inputs.items()}
        return self._call(lambda timeout: self._transport.predict(signature, arrays, timeout))

    def rank(self, context: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Ranking:
        """Scores and orders candidates.

        Args:
            context: what is true of the whole request: user, time, feedback, and the lists of the history
                (`rmtl_tf.data.history.history_of` and `feedback.feedback_of` make them). What is left out is
                missing.
            items: of each of M candidates its own features; what is left out, or None, is missing.

        Raises:
            ValueError: a name is no input of the context or of a candidate, or a value does not fit it.
            ServingError: as `predict`.
        """
        shared = {name: spec for name, spec in self.inputs(RANK).items() if not self._of_item(name)}
        own = {name: spec for name, spec in self.inputs(RANK).items() if self._of_item(name)}
        if unknown := sorted(context.keys() - shared.keys()):
            raise ValueError(f"rank: {unknown} are no inputs of the context; expected {sorted(shared)}.")
        for item in items:
            if unknown := sorted(item.keys() - own.keys()):
                raise ValueError(f"rank: {unknown} are no inputs of a candidate; expected {sorted(own)}.")
        inputs = {name: _padded([context.get(name)], spec) for name, spec in shared.items()}
        for name, spec in own.items():
            values = _padded([item.get(name) for item in items], Input(spec.dtype, spec.axes - 1))
            inputs[name] = np.array(values, object if spec.dtype == "string" else None)[np.newaxis]
        outputs = {name: value[0] for name, value in self.predict(inputs, RANK).items()}
        return Ranking(outputs.pop("order").astype(int), outputs.pop("score"), outputs)

    def inputs(self, signature: str) -> dict[str, Input]:
        """The inputs of a signature, asked for once.

        Raises:
            ValueError: the model has no such signature.
        """
        if self._signatures is None:
            self._signatures = self._call(self._transport.signatures)
        if signature not in self._signatures:
            raise ValueError(f"no signature {signature!r}; the model has {sorted(self._signatures)}.")
        return self._signatures[signature]

    def versions(self) -> list[int]:
        """The versions that serve now, ascending."""
        return self._call(self._transport.versions)

    def _of_item(self, name: str) -> bool:
        """A candidate's input has one more axis than the same of one record."""
        return self.inputs(RANK)[name].axes > self.inputs("serving_default")[name].axes

    def _call(self, attempt: Any) -> Any:
        return self._retry.run(attempt, self._timeout)


def _array(name: str, value: Any, spec: Input) -> np.ndarray:
    """`value` as the input's type; a float for an integer, or text for a number, is refused."""
    try:
        array = np.asarray(value, object if spec.dtype == "string" else None)
        kinds = {"string": "O", "float32": "fiu", "int64": "iu"}[spec.dtype]
        if array.ndim != spec.axes or (array.size and array.dtype.kind not in kinds):
            raise ValueError(f"{array.dtype} with {array.ndim} axes")
        if spec.dtype == "string" and not all(isinstance(v, str | bytes) for v in array.flat):
            raise ValueError("a value that is no text")
    except ValueError as error:
        expected = f"{spec.dtype} with {spec.axes} axes"
        raise ValueError(f"input {name!r}: expected {expected}, received {error}.") from None
    return array.astype(_NUMPY[spec.dtype])


def _padded(values: Sequence[Any], spec: Input) -> Any:
    """One value a record; of lists [N, L] the shorter ones padded at their end, and nothing for None."""
    missing = _MISSING[spec.dtype]
    if spec.axes == 1:
        return [missing if value is None else value for value in values]
    padding = 0 if spec.dtype == "int64" else missing  # in a list 0 is no code
    lists = [[] if value is None else list(value) for value in values]
    longest = max(map(len, lists), default=0)
    filled = [[padding if v is None else v for v in some] for some in lists]
    rows = np.full((len(lists), longest), padding, _NUMPY[spec.dtype] if spec.dtype == "string" else None)
    for row, some in enumerate(filled):
        rows[row, : len(some)] = some
    return rows


def GrpcClient(  # noqa: N802 (reads as the class it makes)
    address: str,
    model: str,
    label: str | None = None,
    version: int | None = None,
    timeout: float = 1.0,
    retry: Retry | None = None,
) -> Client:
    """A client by gRPC, `host:port` (TF Serving: 8500); needs tensorflow-serving-api."""
    from serving.grpc_transport import GrpcTransport

    return Client(GrpcTransport(address, model, label, version), timeout, retry)


def RestClient(  # noqa: N802
    address: str,
    model: str,
    label: str | None = None,
    version: int | None = None,
    timeout: float = 1.0,
    retry: Retry | None = None,
) -> Client:
    """A client by REST, `host:port` (TF Serving: 8501); needs numpy alone."""
    from serving.rest_transport import RestTransport

    return Client(RestTransport(address, model, label, version), timeout, retry)


__all__ = ["Client", "GrpcClient", "Ranking", "RestClient", "Retry", "ServingError"]
