"""`python -m serving.plain_server DIRECTORY`: the ports of TF Serving's image, until interrupted."""

from __future__ import annotations

import argparse
import logging
import threading
from pathlib import Path

from serving.plain_server import PlainServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="model base path, as the pipeline pushes to it")
    parser.add_argument("--port", type=int, default=8500, help="of gRPC (default: 8500)")
    parser.add_argument("--rest-port", type=int, default=8501, help="of REST (default: 8501)")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    with PlainServer(given.directory, given.port, given.rest_port) as server:
        logging.info("gRPC on %s, REST on %s", server.grpc_address, server.rest_address)
        threading.Event().wait()


if __name__ == "__main__":
    main()
