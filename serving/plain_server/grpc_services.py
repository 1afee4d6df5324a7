"""PredictionService and ModelService on a `VersionManager`."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.any_pb2 import Any as AnyMessage
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.in_process import DEFAULT_SIGNATURE
from serving.plain_server.errors import RequestError
from serving.plain_server.served_model import ServedModel
from serving.plain_server.version_manager import VersionManager


def find(manager: VersionManager, spec: Any) -> ServedModel:
    """The model that a ModelSpec names."""
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return manager.find(spec.name, version, spec.version_label if choice == "version_label" else None)


def signature_map(model: ServedModel) -> get_model_metadata_pb2.SignatureDefMap:
    """All signatures of a model as TF Serving describes them."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, (inputs, outputs) in model.signature_defs.items():
        definition = found.signature_def[name]
        definition.method_name = "tensorflow/serving/predict"
        for specs, target in ((inputs, definition.inputs), (outputs, definition.outputs)):
            for key, spec in specs.items():
                info = meta_graph_pb2.TensorInfo(
                    dtype=spec.dtype.as_datatype_enum, tensor_shape=spec.shape.as_proto()
                )
                target[key].CopyFrom(info)
    return found


def array(name: str, tensor: Any) -> np.ndarray:
    """The numpy array of a TensorProto that anybody may have made.

    Raises:
        RequestError: it is no tensor.
    """
    try:
        size = [dim.size for dim in tensor.tensor_shape.dim]
        if tensor.tensor_shape.unknown_rank or any(n < 0 for n in size) or np.prod(size, dtype=float) > 1e8:
            raise ValueError(f"shape {size}")
        value = tf.make_ndarray(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise RequestError(
            "INVALID_ARGUMENT", f"input {name!r}: no tensor can be made of it: {error}"
        ) from error
    return value


class _Service:
    def __init__(self, manager: VersionManager) -> None:
        self._manager = manager

    def _abort(self, context: grpc.ServicerContext, error: Exception) -> None:
        code = error.code if isinstance(error, RequestError) else "INTERNAL"
        context.abort(getattr(grpc.StatusCode, code), str(error)[:4000] or type(error).__name__)


class PredictionService(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata."""

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        response = predict_pb2.PredictResponse()
        try:
            model = find(self._manager, request.model_spec)
            signature = request.model_spec.signature_name
            inputs = {name: array(name, tensor) for name, tensor in request.inputs.items()}
            outputs = model.predict(signature, inputs, request.output_filter)
        except Exception as error:
            self._abort(context, error)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        response.model_spec.name = self._manager.name
        response.model_spec.version.value = model.version
        response.model_spec.signature_name = signature or DEFAULT_SIGNATURE
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        try:
            if list(request.metadata_field) != ["signature_def"]:
                raise RequestError(
                    "INVALID_ARGUMENT",
                    f"metadata_field: expected signature_def, not {request.metadata_field}",
                )
            model = find(self._manager, request.model_spec)
        except Exception as error:
            self._abort(context, error)
        packed = AnyMessage()
        packed.Pack(signature_map(model))
        response.metadata["signature_def"].CopyFrom(packed)
        response.model_spec.name = self._manager.name
        response.model_spec.version.value = model.version
        return response


class ModelService(_Service, model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        response = get_model_status_pb2.GetModelStatusResponse()
        try:
            spec = request.model_spec
            asked = find(self._manager, spec)
            one = spec.WhichOneof("version_choice") is not None
        except Exception as error:
            self._abort(context, error)
        for version in [asked.version] if one else reversed(self._manager.versions):
            status = response.model_version_status.add(version=version)
            status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
            status.status.error_code = 0
        return response
