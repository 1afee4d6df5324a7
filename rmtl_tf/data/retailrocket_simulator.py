"""RetailRocket's files at any size, in the exact published format, at the published counts and skew.

The events themselves cannot be passed on, so tests and benchmarks need files that only differ from them in
what happened. Published, or counted by many from the public files (METHOD 10): 2,756,101 events of 1,407,580
visitors on 235,061 items in 137 days, 2.5 % `addtocart`, 0.8 % `transaction`; 71 % of the visitors have one
event; the most viewed item has 0.12 % of the events; 20,275,902 weekly property snapshots of 417,053 items;
milliseconds; rows in no order of time. What is drawn here says in the constants below what it meets.

    python -m rmtl_tf.data.retailrocket_simulator FOLDER --events 2756101
"""

from __future__ import annotations

import argparse
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

EVENTS = 2_756_101
PROPERTY_ROWS = 20_275_902

_VISITORS = 1_407_580
_VIEWED_ITEMS = 235_061
_ITEMS = 417_053
_BEGIN_MS = 1_430_622_000_000  # 2015-05-03 03:00 UTC
_DAYS = 137
_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_FIRST_SNAPSHOT_MS = 1_431_226_800_000  # a Sunday, 03:00 UTC
_WEEKS = 18
_CATEGORIES = 1_669

# P(n events of a visitor) ~ n^-2.48, to the busiest published one: mean 1.97 (published 1.96); 74 % have 1.
_ACTIVITY, _BUSIEST = 2.48, 7_757
_VISIT_ENDS = 0.18  # after an event; sessions of a visitor lie days apart
_SAME_ITEM = 0.45  # the next event of a visit is on the same item
# Of runs of events on one item, so that 2.5 % of the events are carts and 0.8 % transactions.
_CART, _BUY = 0.1035, 0.73
# A rank is n u^1.84 with uniform u, so the first of 235,061 items has n^(-1 / 1.84) = 0.12 % of the views.
_POPULARITY = 1.84

_BLOCK = 200_000  # visitors, or properties of a tenth as many items; part of what the bytes depend on

# Property, rows an item (of 48.6), form of its values: those asked for most, then the many hashed others.
_PROPERTIES = (
    ("888", 7.2, "text"),
    ("790", 4.3, "number"),
    ("available", 3.6, "flag"),
    ("categoryid", 1.9, "category"),
    ("776", 1.4, "token"),
    ("364", 1.1, "token"),
    ("785", 0.4, "tokens"),
    ("591", 0.5, "number"),
    ("814", 0.5, "tokens"),
)
_OTHERS = 30  # further properties share the remaining rows

_EVENT_COLUMNS = ("timestamp", "visitorid", "event", "itemid", "transactionid")
_PROPERTY_COLUMNS = ("timestamp", "itemid", "property", "value")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shop:
    """Sizes of what is drawn."""

    visitors: int
    viewed: int
    items: int

    @classmethod
    def of(cls, events: int) -> _Shop:
        share = events / EVENTS
        return cls(
            visitors=max(2, round(_VISITORS * share)),
            viewed=max(2, round(_VIEWED_ITEMS * math.sqrt(share))),
            items=max(4, round(_ITEMS * math.sqrt(share))),
        )


def simulate_retailrocket(
    directory: Path,
    events: int,
    *,
    seed: int = 0,
    properties: int | None = None,
    category_tree: Path | None = None,
) -> None:
    """Writes `events.csv`, `item_properties_part1.csv`, `item_properties_part2.csv` and `category_tree.csv`.

    The same arguments give the same bytes; memory is bounded by a block of visitors, whatever the size.

    Args:
        events: rows of `events.csv`, met to about 2 % from 100,000 on.
        properties: rows of both property files together, about; default: 48.6 an item, items growing with
            the square root of the events, so 20.3 million at the published number of events.
        category_tree: a `category_tree.csv` to copy and take categories from; default: one is drawn.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shop = _Shop.of(events)
    categories = _write_tree(directory / "category_tree.csv", category_tree, seed)
    with _writer(directory / "events.csv", _EVENT_COLUMNS) as writer:
        for table in _event_blocks(shop, seed):
            writer.write_table(table)
    wanted = shop.items * PROPERTY_ROWS / _ITEMS if properties is None else properties
    parts = [directory / f"item_properties_part{part}.csv" for part in (1, 2)]
    with _writer(parts[0], _PROPERTY_COLUMNS) as first, _writer(parts[1], _PROPERTY_COLUMNS) as second:
        for table in _property_blocks(shop, wanted / shop.items, categories, seed):
            half = table.num_rows // 2
            first.write_table(table.slice(0, half))
            second.write_table(table.slice(half))
    _log.info(
        "simulated RetailRocket files of %d visitors and %d items in %s", shop.visitors, shop.items, directory
    )


def _writer(path: Path, columns: tuple[str, ...]) -> pyarrow.csv.CSVWriter:
    options = pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none")
    return pyarrow.csv.CSVWriter(
        path, pa.schema([(name, pa.string()) for name in columns]), write_options=options
    )


def _event_blocks(shop: _Shop, seed: int) -> Iterator[pa.Table]:
    quality = np.random.default_rng([seed, 0]).normal(0, 0.8, shop.viewed)
    rank_to_item = np.random.default_rng([seed, 1]).permutation(shop.items)[: shop.viewed]
    transactions = 0
    for block, first in enumerate(range(0, shop.visitors, _BLOCK)):
        rng = np.random.default_rng([seed, 2, block])
        visitors = np.arange(first, min(first + _BLOCK, shop.visitors))
        visitor = np.repeat(visitors, _activity(len(visitors), rng))
        begins = np.diff(visitor, prepend=-1) != 0
        visit = begins | (rng.random(visitor.size) < _VISIT_ENDS)
        run = visit | (rng.random(visitor.size) >= _SAME_ITEM)
        rank = (shop.viewed * rng.random(visitor.size) ** _POPULARITY).astype(np.int64)
        rank = rank[run][np.cumsum(run) - 1]
        kind = _kinds(run, np.exp(quality[rank]), rng)
        bought = kind == 2
        number = np.where(bought, transactions + np.cumsum(bought), 0)
        transactions += int(bought.sum())
        order = rng.permutation(visitor.size)
        yield pa.table(
            [
                _text(_times(begins, visit, rng)[order]),
                _text(visitor[order]),
                pa.array(["view", "addtocart", "transaction"]).take(pa.array(kind[order])),
                _text(rank_to_item[rank[order]]),
                pc.if_else(pa.array(bought[order]), _text(number[order]), ""),
            ],
            names=list(_EVENT_COLUMNS),
        )


def _activity(count: int, rng: np.random.Generator) -> np.ndarray:
    numbers = np.arange(1, _BUSIEST + 1)
    reached = np.cumsum(numbers**-_ACTIVITY)
    return 1 + np.searchsorted(reached, rng.random(count) * reached[-1])


def _kinds(run: np.ndarray, appeal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 view, 1 addtocart, 2 transaction, of events in order.

    The second event of a run on one item may be a cart, more likely in a longer run; then the third may
    be a purchase.
    """
    start = np.flatnonzero(run)
    length = np.diff(np.append(start, run.size))
    cart = start[rng.random(start.size) < _CART * appeal[start] * (length - 1)]
    kind = np.zeros(run.size, np.int64)
    kind[cart + 1] = 1
    buy = cart[(rng.random(cart.size) < _BUY) & (cart + 2 < run.size)]
    buy = buy[~run[buy + 2]]
    kind[buy + 2] = 2
    return kind


def _times(begins: np.ndarray, visit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Milliseconds of events in order: minutes apart in a visit, days between visits, evenings busier."""
    gap = np.where(
        visit, rng.exponential(6 * _DAY_MS, begins.size) + 3_600_000, rng.lognormal(11, 1.1, begins.size)
    )
    gap[begins] = 0
    since = np.cumsum(gap)
    since -= since[begins][np.cumsum(begins) - 1]
    day = rng.integers(0, _DAYS, begins.size) * _DAY_MS
    hour = np.clip(rng.normal(17, 4, begins.size), 0, 24) * 3_600_000
    start = (day + hour)[begins][np.cumsum(begins) - 1]
    return (_BEGIN_MS + (start + since) % (_DAYS * _DAY_MS)).astype(np.int64)


def _property_blocks(shop: _Shop, rows: float, categories: np.ndarray, seed: int) -> Iterator[pa.Table]:
    """Property rows of blocks of items, shuffled in each; about `rows` an item."""
    published = PROPERTY_ROWS / _ITEMS
    rest = (published - sum(share for _, share, _ in _PROPERTIES)) / _OTHERS
    others = tuple((str(1000 + number), rest, "tokens") for number in range(_OTHERS))
    step = _BLOCK // 10
    for block, first in enumerate(range(0, shop.items, step)):
        rng = np.random.default_rng([seed, 3, block])
        items = np.arange(first, min(first + step, shop.items))
        tables = []
        for name, share, form in (*_PROPERTIES, *others):
            chance = min(1.0, share / published * rows / _WEEKS)
            place, week = np.nonzero(rng.random((items.size, _WEEKS)) < chance)
            times = _text(_FIRST_SNAPSHOT_MS + week * _WEEK_MS)
            names = pa.array([name]).take(pa.array(np.zeros(place.size, np.int64)))
            values = _values(form, place.size, categories, rng)
            tables.append(
                pa.table([times, _text(items[place]), names, values], names=list(_PROPERTY_COLUMNS))
            )
        table = pa.concat_tables(tables)
        yield table.take(pa.array(rng.permutation(table.num_rows)))


def _values(form: str, count: int, categories: np.ndarray, rng: np.random.Generator) -> pa.Array:
    if form == "flag":
        return _text(rng.integers(0, 2, count))
    if form == "category":
        return _text(rng.choice(categories, count))
    tokens = _text((1_400_000 * rng.random(count) ** 3).astype(np.int64))
    numbers = pc.binary_join_element_wise("n", _text(rng.integers(1, 90_000, count)), ".000", "")
    if form == "number":
        return numbers
    if form == "token":
        return tokens
    second = _text(rng.integers(0, 2_000, count))
    several = pc.binary_join_element_wise(tokens, second, numbers, " ")
    return pc.if_else(pa.array(rng.random(count) < 0.5), several, tokens) if form == "tokens" else several


def _write_tree(path: Path, given: Path | None, seed: int) -> np.ndarray:
    """Writes the tree and returns its categories."""
    if given is not None:
        shutil.copyfile(given, path)
    else:
        rng = np.random.default_rng([seed, 4])
        ids = rng.permutation(_CATEGORIES)
        # The first 25 are roots, as published; every other hangs below one that stands above it.
        parents = ids[(rng.random(_CATEGORIES) * np.maximum(np.arange(_CATEGORIES), 1)).astype(np.int64)]
        parent = [str(value) if place >= 25 else "" for place, value in enumerate(parents)]
        lines = [f"{child},{above}" for child, above in zip(ids, parent, strict=True)]
        path.write_text("\n".join(["categoryid,parentid", *lines, ""]))
    table = pyarrow.csv.read_csv(path)
    return table["categoryid"].to_numpy()


def _text(numbers: np.ndarray) -> pa.Array:
    return pc.cast(pa.array(numbers), pa.string())


def main() -> None:
    parser = argparse.ArgumentParser(description="writes files in RetailRocket's published format")
    parser.add_argument("directory", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--events", type=int, default=EVENTS, help="rows of events.csv (default: as published)"
    )
    parser.add_argument(
        "--properties", type=int, help="rows of the property files (default: grows with the items)"
    )
    parser.add_argument(
        "--category-tree", type=Path, metavar="FILE", help="a tree to use instead of a drawn one"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    simulate_retailrocket(
        given.directory,
        given.events,
        seed=given.seed,
        properties=given.properties,
        category_tree=given.category_tree,
    )


if __name__ == "__main__":
    main()
