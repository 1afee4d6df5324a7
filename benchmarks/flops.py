"""Counts the multiplications and additions of the matrix products in a traced graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import tensorflow as tf

# Others would have to be counted too: better an error than a number too small.
_UNCOUNTED = ("Conv", "Dot", "Fused", "MatrixSolve", "RNN", "LSTM", "GRU", "While", "PartitionedCall")


def matmul_flops(function: Callable[..., Any], *signature: Any) -> int:
    """FLOPs of `function` on arguments of this signature: 2 for each multiply-add of a matrix product.

    Element-wise operations, look-ups and reductions are left out.

    Raises:
        ValueError: the graph has an operation of a kind that is not counted.
    """
    graph = tf.function(function).get_concrete_function(*signature).graph
    inner = [node.op for called in graph.as_graph_def().library.function for node in called.node_def]
    hidden = [name for name in inner if "MatMul" in name or name == "Einsum"]
    unknown = [op.type for op in graph.get_operations() if any(part in op.type for part in _UNCOUNTED)]
    if hidden or unknown:
        raise ValueError(
            f"expected matrix products at the top of the graph alone, received {hidden + unknown}"
        )
    return sum(_flops(op) for op in graph.get_operations())


def _flops(op: tf.Operation) -> int:
    if op.type == "Einsum":
        return _einsum(op.get_attr("equation").decode(), [tensor.shape for tensor in op.inputs])
    if "MatMul" not in op.type:
        return 0
    adjoint = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    contracted = op.inputs[0].shape[-2 if adjoint else -1]
    return 2 * prod(op.outputs[0].shape) * contracted


def _einsum(equation: str, shapes: list[Any]) -> int:
    sizes: dict[str, int] = {}
    for labels, shape in zip(equation.partition("->")[0].split(","), shapes, strict=True):
        sizes |= dict(zip(labels, shape, strict=True))
    return 2 * prod(sizes.values())


def signature_of(inputs: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """{name: [N]} as the signature of a function."""
    return {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()}
