"""Both interfaces of one model directory, as a `with` block."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.plain_server.grpc_services import ModelService, PredictionService
from serving.plain_server.rest import RestServer
from serving.plain_server.version_manager import VersionManager


class PlainServer:
    """Serves the versions of a directory on this machine alone.

    Args:
        directory: model base path.
        grpc_port, rest_port: 0: any that is free.
        poll_seconds: how often the directory is looked at.
        threads: of gRPC.
    """

    def __init__(
        self,
        directory: Path,
        grpc_port: int = 0,
        rest_port: int = 0,
        poll_seconds: float = 1.0,
        threads: int = 4,
    ) -> None:
        self.manager = VersionManager(directory, poll_seconds)
        self._grpc = grpc.server(ThreadPoolExecutor(threads))
        prediction = PredictionService(self.manager)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.manager), self._grpc)
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port(f'127.0.0.1:{grpc_port}')}"
        self._rest = RestServer(self.manager, rest_port)
        self.rest_address = f"127.0.0.1:{self._rest.server_address[1]}"

    def __enter__(self) -> PlainServer:
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._grpc.stop(grace=1).wait()
        self._rest.shutdown()
        self._rest.server_close()
        self.manager.close()
