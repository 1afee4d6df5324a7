"""One attempt at a call by gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import Input
from serving.retry import ServingError

_LARGEST_MESSAGE = 64 * 2**20


class GrpcTransport:
    """PredictionService and ModelService of one model on one channel."""

    def __init__(self, address: str, model: str, label: str | None, version: int | None) -> None:
        sizes = [(f"grpc.max_{way}_message_length", _LARGEST_MESSAGE) for way in ("send", "receive")]
        self._channel = grpc.insecure_channel(address, options=sizes)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._spec = model_pb2.ModelSpec(name=model)
        if label is not None:
            self._spec.version_label = label
        elif version is not None:
            self._spec.version.value = version

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            dtype = tf.string if value.dtype == object else None
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype, value.shape))
        response = _call(self._prediction.Predict, request, timeout)
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}

    def signatures(self, timeout: float) -> dict[str, dict[str, Input]]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        packed = _call(self._prediction.GetModelMetadata, request, timeout).metadata["signature_def"]
        found = get_model_metadata_pb2.SignatureDefMap()
        packed.Unpack(found)
        return {
            signature: {
                name: Input(tf.as_dtype(info.dtype).name, len(info.tensor_shape.dim))
                for name, info in definition.inputs.items()
            }
            for signature, definition in found.signature_def.items()
        }

    def versions(self, timeout: float) -> list[int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._spec.name
        states = _call(self._model.GetModelStatus, request, timeout).model_version_status
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return sorted(state.version for state in states if state.state == available)

    def close(self) -> None:
        self._channel.close()


def _call(method: Any, request: Any, timeout: float) -> Any:
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise ServingError(error.code().name, error.details()) from None
