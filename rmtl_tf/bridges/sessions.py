"""Columns of records, in any order, as the sessions that a critic learns from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from rmtl_tf.config import TransformConfig
from rmtl_tf.data.analyzers import Analysis, fit, plan
from rmtl_tf.errors import UserError
from rmtl_tf.features.apply import Column, GraphApplier
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.inputs import RecordTable
from rmtl_tf.schema import DataSchema

Columns = Mapping[str, np.ndarray]


def fit_graph(train: Columns, schema: DataSchema, config: TransformConfig) -> TransformGraph:
    """The encoding of the schema's inputs, fitted on the records of `train`, {column: [R]}.

    Raises:
        UserError: see `typed_columns`.
    """
    analysis = Analysis(plan(schema, feedback=()))
    analysis.add(typed_columns(train, schema))
    return fit(analysis, schema, config)


def session_table(
    columns: Columns, schema: DataSchema, graph: TransformGraph
) -> tuple[RecordTable, np.ndarray]:
    """The records {column: [R]} by session and time, and each row's place among `columns`, [R].

    Equal times keep their order. A session is one window, whatever its length.

    Raises:
        UserError: see `typed_columns`.
    """
    typed = typed_columns(columns, schema)
    names, numbers = np.unique(np.asarray(columns[schema.session or ""]), return_inverse=True)
    timestamp = typed[schema.timestamp]
    # Sessions in the order of their first record.
    begins = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(begins, numbers, timestamp)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((np.arange(len(names)), begins))] = np.arange(len(names))
    session = rank[numbers]
    order = np.lexsort((timestamp, session))
    session = session[order].astype(np.int32)
    lengths = np.bincount(session)
    last = np.append(session[1:] != session[:-1], True)
    inputs = GraphApplier(graph)({name: _rows(typed[name], order) for name in graph.raw})
    table = RecordTable(
        features={
            name: values.astype(np.int32 if values.dtype.kind == "i" else np.float32)
            for name, values in inputs.items()
        },
        labels=np.stack([typed[name][order] for name in schema.labels], axis=1).astype(np.float32),
        timestamp=timestamp[order],
        session=session,
        length=lengths[session].astype(np.float32),
        lookahead=np.zeros(len(order), bool),
        done=last,
        windows=np.concatenate([[0], np.cumsum(lengths)]),
    )
    return table, order


def typed_columns(columns: Columns, schema: DataSchema) -> dict[str, Column]:
    """The columns [R] that a transform graph reads, as it takes them: text as bytes, numbers as float32.

    A missing text is None or empty, a missing number NaN.

    Raises:
        UserError: a column is missing or of another length, there is no record, a label is neither 0 nor 1,
            the schema names no session column or a feature with several values.
    """
    _check(columns, schema)
    typed: dict[str, Column] = {}
    for feature in schema.inputs:
        values = np.asarray(columns[feature.name])
        numeric = feature.kind == "numeric"
        typed[feature.name] = values.astype(np.float32) if numeric else _text(values)
    typed[schema.timestamp] = np.asarray(columns[schema.timestamp]).astype(np.int64)
    for name in schema.labels:
        values = np.asarray(columns[name])
        if not np.isin(values, (0, 1)).all():
            raise UserError(f"column {name!r}: expected labels 0 or 1; received others. Make them so.")
        typed[name] = values.astype(np.int64)
    return typed


def _check(columns: Columns, schema: DataSchema) -> None:
    if schema.session is None:
        raise UserError("schema: expected a feature with the tag 'session'; received none. Add one.")
    if several := [feature.name for feature in schema.inputs if feature.multivalued]:
        raise UserError(f"schema: {several} have several values a record, which a bridge cannot read.")
    names = [*(f.name for f in schema.inputs), schema.session, schema.timestamp, *schema.labels]
    if missing := [name for name in names if name not in columns]:
        raise UserError(f"columns: expected {missing} too, as the schema says; received {sorted(columns)}.")
    shapes = {name: np.shape(columns[name]) for name in names}
    if len(set(shapes.values())) != 1 or len(shapes[names[0]]) != 1 or not shapes[names[0]][0]:
        raise UserError(f"columns: expected one length [R], R > 0; received {shapes}.")


def _text(values: np.ndarray) -> pa.Array:
    if values.dtype.kind in "iu":
        values = values.astype(str)
    texts = ["" if value is None else value for value in values.tolist()]
    return pa.array([text.encode() if isinstance(text, str) else text for text in texts], pa.large_binary())


def _rows(column: Column, order: np.ndarray) -> Column:
    return column[order] if isinstance(column, np.ndarray) else column.take(pa.array(order))
