"""A backbone as requests need it: weights that do not change any more, so products of them are made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.layers.embedding import FieldEmbedding
from rmtl_tf.layers.experts import one_by_one

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
        backbone: a `Backbone`; of another layer, of one that makes a state of its own, or of more weights
            than a graph can hold, the call itself is returned.
        folded_bytes: how large the tables of `FoldedState` may be, all together.
    """
    kind = type(backbone)
    if not isinstance(backbone, Backbone) or (kind.state, kind.call) != (Backbone.state, Backbone.call):
        return lambda inputs: backbone(inputs, training=False)
    if not backbone.built:
        backbone.build()
    spec = tf.TensorSpec([None, backbone.state_width], tf.float32, _STATE)
    with one_by_one():
        traced = tf.function(lambda state: backbone.logits(state, training=False)).get_concrete_function(spec)
    if sum(variable.shape.num_elements() * variable.dtype.size for variable in traced.variables) > (
        _LARGEST_CONSTANTS
    ):
        return lambda inputs: backbone(inputs, training=False)
    frozen = convert_variables_to_constants_v2(traced)
    graph, output = _plain(frozen.graph.as_graph_def()), frozen.outputs[0].name
    foldable = folded_bytes and backbone.cross is None and backbone.embedding.parts == 1
    readers = _readers(graph) if foldable else []
    if not readers:
        state = {_STATE: backbone.state_width}
        return Frozen(graph, state, output, lambda inputs: [backbone.state(inputs, training=False)])
    folded = FoldedState(
        backbone.embedding, [(reader.matrix, reader.bias) for reader in readers], folded_bytes
    )
    widths = {reader.name: reader.bias.size for reader in readers}
    return Frozen(_without(graph, list(widths), output), widths, output, folded)


class Frozen(tf.Module):
    """A graph without variables behind what makes its inputs; one function, however many signatures use it.

    Args:
        graph: the graph.
        inputs: {node: width} of what `before` gives the values of.
        output: name of the tensor that is returned.
        before: model inputs {name: [N]} -> [N, width] for each of `inputs`.
    """

    def __init__(
        self,
        graph: tf.compat.v1.GraphDef,
        inputs: Mapping[str, int],
        output: str,
        before: Callable[[Mapping[str, tf.Tensor]], list[tf.Tensor]],
    ) -> None:
        super().__init__(name="frozen")
        self._before = before
        specs = [tf.TensorSpec([None, width], tf.float32) for width in inputs.values()]
        function = tf.function(
            lambda *values: tf.import_graph_def(
                graph, dict(zip((f"{name}:0" for name in inputs), values, strict=True)), [output], name=""
            )[0]
        ).get_concrete_function(*specs)
        self._after = lambda *values: function(*values)  # not tracked: else it is saved once more

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Model inputs {name: [N]} -> logits [N, K]."""
        return self._after(*self._before(inputs))


class FoldedState(tf.Module):
    """The products of the state with matrices that read it, computed without the state.

    The state is the fields' concatenation, so its product with a matrix [F * D, U] is a sum over the
    fields, and the part of an id is a row of a table [ids, U] = embedding [ids, D] x matrix [D, U] that is
    made here: a product of the largest matrix of a model becomes a sum of F rows. Numbers and their linear
    map are joined into one matrix. Fields whose tables do not fit are embedded and multiplied as ever.

    Args:
        embedding: makes the state.
        matrices: [F * D, U] and what is added [U], each with its own U.
        folded_bytes: the most that all tables may take; fields with few ids come first.
    """

    def __init__(
        self,
        embedding: FieldEmbedding,
        matrices: Sequence[tuple[np.ndarray, np.ndarray]],
        folded_bytes: int,
    ) -> None:
        super().__init__(name="folded_state")
        self._embedding = lambda: embedding  # not tracked: only what requests read is saved
        names = [name for name, _ in embedding.spec.categorical]
        self._folded = fitting(embedding, sum(bias.size for _, bias in matrices), folded_bytes)
        self._rest = [name for name in names if name not in self._folded]
        self._history = embedding.history is not None
        sizes = [embedding.spec.layout(name).size for name in self._folded]
        self._first = np.cumsum([0, *sizes[:-1]], dtype=np.int32)
        vectors = {name: embedding.vectors(name) for name in self._folded}
        rest = [names.index(name) for name in self._rest] + [-1] * self._history
        self._terms = []
        for matrix, bias in matrices:
            own = np.split(matrix, matrix.shape[0] // embedding.width)
            table = [_product(rows, own[names.index(name)]) for name, rows in vectors.items()]
            linear = None
            if embedding.numeric is not None:
                kernel, added = (np.asarray(weight) for weight in embedding.numeric.get_weights())
                linear = _product(kernel, own[len(names)])
                bias = bias + _product(added[np.newaxis], own[len(names)])[0]
            if table:  # every record reads one row of the first field
                table[0] = table[0] + bias
            self._terms.append(
                _Terms(
                    tf.Variable(np.concatenate(table), trainable=False, name="folded_table")
                    if table
                    else None,
                    linear,
                    np.concatenate([own[i] for i in rest]) if rest else None,
                    None if table else bias,
                )
            )

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Model inputs {name: [N], [N, M] or [N, H]} -> the product [N, U] with each matrix."""
        embedding = self._embedding()
        rows = records = numbers = fields = None
        if self._folded:
            ids = tf.stack([tf.cast(inputs[name], tf.int32) for name in self._folded], axis=1)
            rows = tf.reshape(ids + self._first, [-1])
            records = tf.range(tf.size(rows)) // len(self._folded)
        if embedding.numeric is not None:
            numbers = tf.stack([inputs[name] for name in embedding.spec.numeric], axis=1)
        if self._rest or self._history:
            fields = embedding.some_fields(inputs, self._rest, False, self._history)
        return [terms.added(rows, records, numbers, fields) for terms in self._terms]


class _Terms(tf.Module):
    """What one product is the sum of; what is not there is None."""

    def __init__(
        self,
        table: tf.Variable | None,
        linear: np.ndarray | None,
        kernel: np.ndarray | None,
        bias: np.ndarray | None,
    ) -> None:
        super().__init__(name="terms")
        self.table, self._linear, self._kernel, self._bias = table, linear, kernel, bias

    def added(self, rows: Any, records: Any, numbers: Any, fields: Any) -> tf.Tensor:
        """Rows of the table and their records [N * folded], numbers [N, n], fields [N, rest * D]: [N, U]."""
        terms = []
        if self.table is not None:
            terms.append(tf.sparse.segment_sum(self.table, rows, records))
        if self._linear is not None:
            terms.append(tf.matmul(numbers, self._linear))
        if self._kernel is not None:
            terms.append(tf.matmul(fields, self._kernel))
        total = terms[0] if len(terms) == 1 else tf.add_n(terms)
        return total if self._bias is None else tf.nn.bias_add(total, self._bias)


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
    return np.concatenate(
        [np.float32(rows[i : i + _ROWS_AT_ONCE].astype(np.float64) @ matrix) for i in chunks]
    )


@dataclass(frozen=True)
class _Reader:
    """A node of a graph that is state x matrix + bias: [F * D, U] and [U]."""

    name: str
    matrix: np.ndarray
    bias: np.ndarray


def _readers(graph: tf.compat.v1.GraphDef) -> list[_Reader]:
    """Every product of the state with a constant; none where anything else reads the state."""
    nodes = {node.name: node for node in graph.node}
    after: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in map(_node, node.input):
            after.setdefault(name, []).append(node)
    depends = {_STATE}
    waiting = [_STATE]
    while waiting:
        reached = {node.name for node in after.get(waiting.pop(), ())} - depends
        depends |= reached
        waiting += reached
    products, waiting = [], [_STATE]
    while waiting:
        for node in after.get(waiting.pop(), ()):
            if node.op == "Identity":
                waiting.append(node.name)
                continue
            if node.op != "MatMul" or _node(node.input[1]) in depends:
                return []
            if node.attr["transpose_a"].b or node.attr["transpose_b"].b:
                return []
            products.append(node)
    biased = [_only_bias(after.get(node.name, ()), depends) for node in products]
    wanted = [node.input[1] for node in products] + [node.input[1] for node in biased if node is not None]
    values = dict(zip(wanted, _values(graph, wanted), strict=True))
    found = []
    for node, add in zip(products, biased, strict=True):
        matrix = values[node.input[1]]
        bias = np.zeros(matrix.shape[1], np.float32) if add is None else values[add.input[1]]
        found.append(_Reader((add or nodes[node.name]).name, matrix, bias))
    return found


def _only_bias(readers: Sequence[Any], depends: set[str]) -> Any:
    """The BiasAdd that is all that reads a product, or None."""
    if len(readers) == 1 and readers[0].op == "BiasAdd" and _node(readers[0].input[1]) not in depends:
        return readers[0]
    return None


def _node(tensor: str) -> str:
    """The node of a tensor or of a control input."""
    return tensor.partition(":")[0].removeprefix("^")


def _values(graph: tf.compat.v1.GraphDef, tensors: Sequence[str]) -> list[np.ndarray]:
    """The values of tensors that need no input."""
    named = [name if ":" in name else f"{name}:0" for name in tensors]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run(tf.import_graph_def(graph, return_elements=named, name=""))


def _plain(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """The graph without waiting for variables to be read: they are constants now."""
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        kept = [
            name
            for name in node.input
            if not name.startswith("^") or nodes[_node(name)].op not in ("Identity", "Const", "NoOp")
        ]
        del node.input[:]
        node.input.extend(kept)
    return graph


def _without(graph: tf.compat.v1.GraphDef, names: Sequence[str], output: str) -> tf.compat.v1.GraphDef:
    """The graph with placeholders for some nodes, and without what only they read."""
    cut = tf.compat.v1.GraphDef(library=graph.library, versions=graph.versions)
    for node in graph.node:
        if node.name in names:
            placeholder = cut.node.add(name=node.name, op="Placeholder")
            placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
        else:
            cut.node.add().CopyFrom(node)
    return tf.compat.v1.graph_util.extract_sub_graph(cut, [_node(output)])
