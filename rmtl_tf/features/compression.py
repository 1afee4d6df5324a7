"""Quotient-remainder tables: many ids, few rows, and still a vector of its own for every id.

The n values of an input (ids from 2) share m = ceil(n / ratio) rows by their remainder, i mod m, and
ceil(n / m) rows by their quotient, i div m. No two values share both, so the composition of the two rows
tells them apart, which a hash does not. Ids fall in frequency: the m most frequent values differ by their
remainder alone.

Padding and the unknown value keep rows of their own: what id dropout trains is the unknown value alone.

References:
    Shi, Mudigere, Naumov, Yang, "Compositional Embeddings Using Complementary Partitions for Memory-Efficient
    Recommendation Systems", KDD 2020, arXiv 1909.02107, section 3 (element-wise product and sum; not its
    concatenation, nor its path-based and mixed forms).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmtl_tf.errors import UserError, nearest
from rmtl_tf.features.ids import FIRST_ID

if TYPE_CHECKING:
    from rmtl_tf.config import CompressionConfig

PRODUCT, SUM = "product", "sum"


@dataclass(frozen=True)
class Compression:
    """The inputs whose tables are compressed.

    Attributes:
        ratios: (name, how many ids share a remainder row) of each, at least 2.
        operation: how the two rows become one, "product" or "sum", element by element.
    """

    ratios: tuple[tuple[str, int], ...]
    operation: str = PRODUCT

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Compression:
        ratios = tuple((name, int(ratio)) for name, ratio in config["ratios"])
        return cls(ratios, config["operation"])


@dataclass(frozen=True)
class Layout:
    """The rows of one input in the table: those of ids 0 and 1, of remainders, of quotients.

    Attributes:
        size: number of ids, padding and unknown among them.
        ratio: 1: a row for every id and no quotients.
    """

    size: int
    ratio: int = 1

    @property
    def remainders(self) -> int:
        """m."""
        return max(1, -(-(self.size - FIRST_ID) // self.ratio))

    @property
    def quotients(self) -> int:
        return 0 if self.ratio == 1 else max(1, -(-(self.size - FIRST_ID) // self.remainders))

    @property
    def first_quotient(self) -> int:
        return FIRST_ID + self.remainders

    @property
    def rows(self) -> int:
        return self.size if self.ratio == 1 else self.first_quotient + self.quotients


def compression_of(config: CompressionConfig, categorical: tuple[tuple[str, int], ...]) -> Compression | None:
    """What a configuration compresses of these inputs, (name, number of ids); None: nothing.

    An input named in `config.features` has its ratio; of the others those of more than `config.above` ids
    have `config.ratio`. Where that would not save rows an input stays as it is.

    Raises:
        UserError: a feature is named that is no categorical input.
    """
    names = [name for name, _ in categorical]
    for name in config.features:
        if name not in names:
            raise UserError(
                f'model.compression.features: expected categorical inputs, received "{name}"; '
                f"{nearest(name, names)}"
            )
    ratios = []
    for name, size in categorical:
        large = config.above is not None and size > config.above
        ratio = config.features.get(name, config.ratio if large else 1)
        if Layout(size, ratio).rows < size:
            ratios.append((name, ratio))
    return Compression(tuple(ratios), config.operation) if ratios else None
