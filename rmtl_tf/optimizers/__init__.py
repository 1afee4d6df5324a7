"""Optimizers for networks with embedding tables: a step costs what the rows of the batch cost."""

from rmtl_tf.optimizers.build import build_optimizer
from rmtl_tf.optimizers.optimizer import RULES, TableOptimizer
from rmtl_tf.optimizers.slices import SummedSlices, sum_duplicates
from rmtl_tf.optimizers.tables import before_read, is_table, read_rows

__all__ = [
    "RULES",
    "SummedSlices",
    "TableOptimizer",
    "before_read",
    "build_optimizer",
    "is_table",
    "read_rows",
    "sum_duplicates",
]
