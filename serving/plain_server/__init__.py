"""TF Serving's gRPC and REST interfaces over plain TensorFlow: for tests and for machines without the server.

What it shares with TF Serving: the protos and JSON, signatures, version numbers and labels, the polled
`models.config`, warm-up requests. What it lacks: batching, monitoring, several models, its speed.
"""

from serving.plain_server.server import PlainServer

__all__ = ["PlainServer"]
