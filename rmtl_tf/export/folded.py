"""A backbone as requests need it: weights that do not change any more, so products of them are made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.layers.embedding import FieldEmbedding

Logits = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]

_STATE = "state"
_LARGEST_CONSTANTS = 1 << 28  # bytes; a SavedModel's graph must stay below 2 GiB
_ROWS_AT_ONCE = 1 << 14


def inference_logits(backbone: Any, folded_bytes: int) -> Logits:
    """What computes the logits {name: [N]} -> [N, K] in an exported model, without training's freedom.

    The weights above the state become constants, which TensorFlow simplifies and fuses with what surrounds
    them. If nothing but matrices read the state, as in most backbones, it is not made at all: see
    `FoldedState`.

    Args:
        backbone: a `Backbone`; of another layer, of a state that it makes itself, or of more weights than a graph
            can hold, the call itself is returned.
        folded_bytes: how large the tables of `FoldedState` may be, all together.
    """
    kind = type(backbone)
    if not isinstance(backbone, Backbone) or (kind.state, kind.call) != (Backbone.state, Backbone.call):
        return lambda inputs: backbone(inputs, training=False)
    if not backbone.built:
        backbone.build()
    spec = tf.TensorSpec([None, backbone.state_width], tf.float32, _STATE)
    traced = tf.function(lambda state: backbone.logits(state, training=False)).get_concrete_function(spec)
    if sum(variable.shape.num_elements() * variable.dtype.size for variable in traced.variables) > (
        _LARGEST_CONSTANTS
    ):
        return lambda inputs: backbone(inputs, training=False)
    frozen = convert_variables_to_constants_v2(traced)
    graph, output = frozen.graph.as_graph_def(), frozen.outputs[0].name
    readers = _matrices(graph)
    foldable = backbone.cross is None and backbone.embedding.parts == 1
    if readers and foldable and folded_bytes:
        state = FoldedState(backbone.embedding, list(readers.values()), folded_bytes)
        return Frozen(_without(graph, readers, output), list(readers), output, state)
    return Frozen(graph, [_STATE], output, lambda inputs: [backbone.state(inputs, training=False)])


class Frozen(tf.Module):
    """A graph without variables behind what makes its inputs; one function, however many signatures use it.

    Args:
        graph: the graph.
        inputs: names of its nodes that `before` gives the values of.
        output: name of the tensor that is returned.
        before: model inputs {name: [N]} -> [N, width] for each of `inputs`.
    """

    def __init__(
        self,
        graph: tf.compat.v1.GraphDef,
        inputs: Sequence[str],
        output: str,
        before: Callable[[Mapping[str, tf.Tensor]], list[tf.Tensor]],
    ) -> None:
        super().__init__(name="frozen")
        self._before = before
        self._after = tf.function(
            lambda *values: tf.import_graph_def(
                graph, dict(zip((f"{name}:0" for name in inputs), values, strict=True)), [output], name=""
            )[0]
        )

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        values = self._before(inputs)
        for value in values:
            value.set_shape([None, value.shape[1]])
        return self._after(*values)


class FoldedState(tf.Module):
    """The products of the state with matrices that read it, computed without the state.

    The state is the fields' concatenation, so its product with a matrix [F * D, U] is a sum over the
    fields, and the part of an id is a row of a table [ids, U] = embedding [ids, D] x matrix [D, U] that is
    made here: a product of the largest matrix of a model becomes a sum of F rows. Numbers and their linear
    map are joined into one matrix. Fields whose tables do not fit are embedded and multiplied as ever.

    Args:
        embedding: makes the state.
        matrices: [F * D, U], each with its own U.
        folded_bytes: the most that all tables may take; fields with few ids come first.
    """

    def __init__(self, embedding: FieldEmbedding, matrices: Sequence[np.ndarray], folded_bytes: int) -> None:
        super().__init__(name="folded_state")
        self._embedding = lambda: embedding  # not tracked: only what requests read is saved
        names = [name for name, _ in embedding.spec.categorical]
        self._folded = fitting(embedding, sum(m.shape[1] for m in matrices), folded_bytes)
        self._rest = [name for name in names if name not in self._folded]
        width, history = embedding.width, embedding.history is not None
        parts = [np.split(matrix, matrix.shape[0] // width) for matrix in matrices]
        rest = [names.index(name) for name in self._rest] + [-1] * history
        self._kernels = [np.concatenate([own[i] for i in rest]) if rest else None for own in parts]
        sizes = [embedding.spec.layout(name).size for name in self._folded]
        self._first = np.cumsum([0, *sizes[:-1]], dtype=np.int32)
        self._tables = []
        if self._folded:
            vectors = [(names.index(name), embedding.vectors(name)) for name in self._folded]
            for own in parts:
                table = np.concatenate([_product(rows, own[i]) for i, rows in vectors])
                self._tables.append(tf.Variable(table, trainable=False, name="folded_table"))
        self._linear = []
        if embedding.numeric is not None:
            kernel, bias = (np.asarray(w, np.float64) for w in embedding.numeric.get_weights())
            for own in parts:
                matrix = own[len(names)]
                self._linear.append(
                    (np.float32(kernel @ matrix), np.float32(bias @ matrix.astype(np.float64)))
                )

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Model inputs {name: [N], [N, M] or [N, H]} -> the product [N, U] with each matrix."""
        embedding, sums = self._embedding(), [[] for _ in self._kernels]  # type: ignore[var-annotated]
        if self._folded:
            ids = tf.stack([tf.cast(inputs[name], tf.int32) for name in self._folded], axis=1)
            rows = tf.reshape(ids + self._first, [-1])
            records = tf.range(tf.size(rows)) // len(self._folded)
            for terms, table in zip(sums, self._tables, strict=True):
                terms.append(tf.sparse.segment_sum(table, rows, records))
        if self._linear:
            numbers = tf.stack([inputs[name] for name in embedding.spec.numeric], axis=1)
            for terms, (kernel, bias) in zip(sums, self._linear, strict=True):
                terms.append(tf.nn.bias_add(tf.matmul(numbers, kernel), bias))
        if self._rest or embedding.history is not None:
            fields = embedding.some_fields(inputs, self._rest, False, embedding.history is not None)
            for terms, kernel in zip(sums, self._kernels, strict=True):
                terms.append(tf.matmul(fields, kernel))
        return [tf.add_n(terms) if len(terms) > 1 else terms[0] for terms in sums]


def fitting(embedding: FieldEmbedding, width: int, most: int) -> list[str]:
    """The categorical inputs of one id a record whose tables [ids, width] fit into `most` bytes of float32,
    those with the fewest ids first."""
    several = {name for name, _ in embedding.spec.several}
    sizes = {name: embedding.spec.layout(name).size for name, _ in embedding.spec.categorical}
    chosen, used = [], 0
    for name in sorted(sizes.keys() - several, key=lambda name: (sizes[name], name)):
        used += 4 * width * sizes[name]
        if used > most:
            break
        chosen.append(name)
    return chosen


def _product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """rows [R, D] x matrix [D, U] in float64, rounded once."""
    matrix = matrix.astype(np.float64)
    chunks = range(0, len(rows), _ROWS_AT_ONCE)
    return np.concatenate([np.float32(rows[i : i + _ROWS_AT_ONCE].astype(np.float64) @ matrix) for i in chunks])


def _matrices(graph: tf.compat.v1.GraphDef) -> dict[str, np.ndarray]:
    """Name -> matrix of every product `MatMul(state, constant)`; none where anything else reads the state."""
    nodes = {node.name: node for node in graph.node}

    def source(name: str) -> str:
        name = name.partition(":")[0].removeprefix("^")
        while nodes[name].op == "Identity":
            name = nodes[name].input[0].partition(":")[0]
        return name

    found = {}
    for node in graph.node:
        if node.op == "Identity" or _STATE not in map(source, node.input):
            continue
        plain = node.op == "MatMul" and not (node.attr["transpose_a"].b or node.attr["transpose_b"].b)
        if not plain or source(node.input[0]) != _STATE or nodes[source(node.input[1])].op != "Const":
            return {}
        found[node.name] = tf.make_ndarray(nodes[source(node.input[1])].attr["value"].tensor)
    return found


def _without(
    graph: tf.compat.v1.GraphDef, products: Mapping[str, np.ndarray], output: str
) -> tf.compat.v1.GraphDef:
    """The graph with placeholders where the products were, and without what only they read."""
    cut = tf.compat.v1.GraphDef(library=graph.library, versions=graph.versions)
    for node in graph.node:
        if node.name in products:
            placeholder = cut.node.add(name=node.name, op="Placeholder")
            placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
        else:
            cut.node.add().CopyFrom(node)
    return tf.compat.v1.graph_util.extract_sub_graph(cut, [output.partition(":")[0]])
