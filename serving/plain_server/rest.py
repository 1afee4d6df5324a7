"""TF Serving's REST paths on a `VersionManager`."""

from __future__ import annotations

import json
import logging
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict

from serving.plain_server.errors import RequestError
from serving.plain_server.grpc_services import signature_map
from serving.plain_server.rest_json import parse_predict, to_answer, to_arrays
from serving.plain_server.version_manager import VersionManager

logger = logging.getLogger(__name__)

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<what>:predict|/metadata|)"
)
_STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}
_LARGEST_BODY = 64 * 2**20


class RestServer(ThreadingHTTPServer):
    """Answers on a port, every connection in a thread."""

    daemon_threads = True

    def __init__(self, manager: VersionManager, port: int) -> None:
        self.manager = manager
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet

    def do_GET(self) -> None:
        self._respond(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self._send(400, {"error": f"expected a body of at most {_LARGEST_BODY} bytes"})
            return
        self._respond(self.rfile.read(int(length)))

    def _respond(self, body: bytes) -> None:
        try:
            self._send(200, self._answer(body))
        except RequestError as error:
            self._send(_STATUS.get(error.code, 500), {"error": str(error)})
        except ConnectionError:
            self.close_connection = True
        except Exception as error:
            logger.exception("request failed")
            self._send(500, {"error": f"{type(error).__name__}: {error}"})

    def _answer(self, body: bytes) -> dict[str, Any]:
        assert isinstance(self.server, RestServer)
        manager, match = self.server.manager, _PATH.fullmatch(self.path)
        wanted = self.command == "POST"
        if match is None or (match["what"] == ":predict") != wanted:
            raise RequestError("NOT_FOUND", f"malformed request: {self.command} {self.path}")
        version = None if match["version"] is None else int(match["version"])
        model = manager.find(match["name"], version, match["label"])
        if match["what"] == ":predict":
            request, rows = parse_predict(body)
            signature = request.get("signature_name", "")
            inputs = to_arrays(request, rows, model.inputs(signature))
            return to_answer(model.predict(signature, inputs), rows)
        if match["what"] == "/metadata":
            spec = {"name": manager.name, "signature_name": "", "version": str(model.version)}
            signatures = MessageToDict(signature_map(model), preserving_proto_field_name=True)
            return {"model_spec": spec, "metadata": {"signature_def": signatures}}
        named = match["version"] is not None or match["label"] is not None
        versions = [model.version] if named else manager.versions[::-1]
        fine = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(version), "state": "AVAILABLE", "status": fine} for version in versions
            ]
        }

    def _send(self, code: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)
