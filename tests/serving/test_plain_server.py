"""What goes over the wire: TF Serving's JSON and protos, and what malformed requests get."""

from __future__ import annotations

import base64
import http.client
import json
import math
import random
import weakref

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.client import GrpcClient
from serving.plain_server.version_manager import VersionManager
from tests.serving.conftest import Served, push

ROW = {
    "user": "ann",
    "item": "i1",
    "tag": ["red", "blue"],
    "price": 2.5,
    "t": 7200,
    "history_item": ["i3"],
    "history_price": [1.0],
    "history_click": [2],
}


def ask(served: Served, path: str, body: object = None) -> tuple[int, dict]:
    connection = http.client.HTTPConnection(served.rest, timeout=60)
    try:
        text = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("GET" if text is None else "POST", f"/v1/models/shop{path}", text)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def columns(count: int = 2) -> dict:
    return {name: [value] * count for name, value in ROW.items()}


def test_rows_columns_and_base64_get_the_same_answer(served: Served) -> None:
    status, rows = ask(served, "/versions/1:predict", {"instances": [ROW, ROW]})
    assert status == 200
    _, cols = ask(served, "/versions/1:predict", {"inputs": columns()})
    encoded = {**ROW, "item": {"b64": base64.b64encode(b"i1").decode()}}
    _, b64 = ask(served, "/labels/stable:predict", {"instances": [encoded, ROW]})
    assert rows["predictions"][0].keys() == {"click", "buy", "score"}
    for name in ("click", "buy", "score"):
        values = [row[name] for row in rows["predictions"]]
        assert values == pytest.approx(cols["outputs"][name], abs=1e-6)
        assert values == pytest.approx([row[name] for row in b64["predictions"]], abs=1e-6)


def test_one_instance_is_one_request_to_rank(served: Served) -> None:
    request = {**ROW, "item": ["i1", "i2"], "price": [1.0, math.nan], "tag": [["red"], [""]]}
    status, answer = ask(served, ":predict", {"signature_name": "rank", "instances": [request]})
    assert status == 200
    (prediction,) = answer["predictions"]
    assert sorted(prediction["order"]) == [0, 1]
    assert prediction["score"][prediction["order"][0]] == max(prediction["score"])


def test_status_and_metadata_are_told(served: Served) -> None:
    status, answer = ask(served, "")
    assert status == 200
    found = {s["version"]: s["state"] for s in answer["model_version_status"]}
    assert found == {"1": "AVAILABLE", "2": "AVAILABLE"}
    _, one = ask(served, "/labels/canary")
    assert [s["version"] for s in one["model_version_status"]] == ["2"]
    _, answer = ask(served, "/versions/2/metadata")
    assert answer["model_spec"]["version"] == "2"
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["rank"]["inputs"]["price"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "(?i)json"),
        ({}, "instances.*inputs"),
        ({"inputs": {**columns(), "price": ["cheap"] * 2}}, "price"),
        ({"inputs": {**columns(), "t": [1.5, 2]}}, "t"),
        ({"inputs": {k: v for k, v in columns().items() if k != "user"}}, "user"),
        ({"inputs": {**columns(), "item": [["i1"]]}}, "item"),
        ({"inputs": columns(), "signature_name": "rnk"}, "rnk"),
        ({"instances": []}, "instances"),
    ],
)
def test_malformed_body_gets_400_and_names_what_is_wrong(served: Served, body: object, message: str) -> None:
    import re

    status, answer = ask(served, ":predict", body)
    assert status == 400
    assert re.search(message, answer["error"])


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/versions/9:predict", {"inputs": columns()}, 404),
        ("/nothing", None, 404),
        ("/labels/x:predict", {}, 400),
    ],
)
def test_what_is_not_there_is_not_served(served: Served, path: str, body: object, code: int) -> None:
    status, answer = ask(served, path, body)
    assert status == code
    assert answer["error"]


def good_proto() -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shop"
    types = {"price": np.float32, "history_price": np.float32, "t": np.int64, "history_click": np.int64}
    for name, value in columns().items():
        array = np.array(value, types.get(name, object))
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
    return request


def test_answer_says_which_version_and_signature_it_is_of(served: Served) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        request = good_proto()
        request.model_spec.version_label = "stable"
        request.output_filter.append("click")
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs) == ["click"]


def test_metadata_field_that_is_unknown_is_refused(served: Served) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["weights"])
        request.model_spec.name = "shop"
        with pytest.raises(grpc.RpcError) as caught:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def spoilt_proto(draw: random.Random) -> predict_pb2.PredictRequest:
    """A request that no server may answer."""
    request = good_proto()
    name = draw.choice(sorted(request.inputs))
    tensor = request.inputs[name]
    kind = draw.randrange(8)
    if kind == 0:
        del request.inputs[name]
    elif kind == 1:
        request.inputs[draw.choice(["", "x" * 99, "Item", "score"])].CopyFrom(tensor)
    elif kind == 2:
        wrong = [t for t in (1, 2, 3, 7, 9, 10, 19, 21, 99, 0) if t != tensor.dtype]
        tensor.dtype = draw.choice(wrong)
    elif kind == 3:
        tensor.tensor_shape.dim[0].size = draw.choice([-1, 3, 2**40, -(2**63), 7])
    elif kind == 4:
        tensor.tensor_shape.dim.add(size=draw.choice([2, 5, 2**31]))
    elif kind == 5:
        request.model_spec.name = draw.choice(["", "shopp", "../shop", "\u0000"])
    elif kind == 6:
        request.model_spec.signature_name = draw.choice(["predict", "rank", "__saved_model_init_op", " "])
    else:
        request.model_spec.version.value = draw.choice([0, -1, 10**12, 3])
    return request


def spoilt_body(draw: random.Random) -> bytes:
    request: dict = {"inputs": columns()}
    name = draw.choice(sorted(ROW))
    kind = draw.randrange(8)
    if kind == 0:
        text = json.dumps(request)
        return text[: draw.randrange(len(text))].encode()
    if kind == 1:
        return bytes(draw.randrange(128, 256) for _ in range(draw.randrange(1, 80)))
    if kind == 2:
        del request["inputs"][name]
    elif kind == 3:
        request["inputs"][name] = draw.choice(
            [None, {}, {"b64": "*"}, [[[[1]]]], [None, None], [[], [1, 2]], "x"]
        )
    elif kind == 4:
        request["inputs"][name] = [{"b64": 3}, True]
    elif kind == 5:
        request = draw.choice(
            [[], 3, "x", None, {"instances": 1}, {"instances": [{}, {"a": 1}]}, {"inputs": []}]
        )
    elif kind == 6:
        request["signature_name"] = draw.choice([3, None, [], "rank", "x"])
    else:
        return b"[" * draw.choice([10, 1000, 100_000])
    return json.dumps(request).encode()


def test_500_spoilt_protos_get_an_error_each_and_the_next_request_is_fine(served: Served) -> None:
    draw = random.Random(0)
    with grpc.insecure_channel(served.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        expected = stub.Predict(good_proto(), timeout=60).outputs["score"]
        for number in range(500):
            request = spoilt_proto(draw)
            text = request.SerializeToString()
            if number % 10 == 0:  # no proto at all
                text = b"\xff" + bytes(draw.randrange(256) for _ in range(40))
            with pytest.raises(grpc.RpcError) as caught:
                predict(text, timeout=60)
            codes = [
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.FAILED_PRECONDITION,
            ]
            if number % 10 == 0:
                codes += [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN]
            assert caught.value.code() in codes, (number, caught.value.details(), request)
            if number % 25 == 0:
                assert stub.Predict(good_proto(), timeout=60).outputs["score"] == expected


def test_500_spoilt_bodies_get_an_error_each_and_the_next_request_is_fine(served: Served) -> None:
    draw = random.Random(1)
    for number in range(500):
        body = spoilt_body(draw)
        status, answer = ask(served, ":predict", body)
        assert 400 <= status < 500, (number, status, answer, body[:300])
        assert answer["error"]
        if number % 25 == 0:
            assert ask(served, ":predict", {"inputs": columns()})[0] == 200
    with GrpcClient(served.grpc, "shop", timeout=60) as client:
        assert client.rank({}, [{"item": "i1"}]).order.tolist() == [0]


def test_of_a_version_that_is_gone_nothing_stays_in_memory(models, tmp_path) -> None:
    directory = tmp_path / "shop"
    push(models[0], directory)
    manager = VersionManager(directory, poll_seconds=3600)
    try:
        graph = weakref.ref(manager.find("shop")._model._session.graph)
        push(models[1], directory)
        manager.poll()
        assert manager.versions == [2]
        assert graph() is None
    finally:
        manager._stop.set()
