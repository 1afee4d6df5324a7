from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from rmtl_tf.data.retailrocket_simulator import main, simulate_retailrocket
from rmtl_tf.files import digest_tree

REAL_TREE = Path(__file__).resolve().parents[4] / "shared" / "data" / "retailrocket" / "category_tree.csv"
EVENTS = 200_000


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("retailrocket")
    simulate_retailrocket(directory, EVENTS, properties=100_000)
    return directory


@pytest.fixture(scope="module")
def events(files) -> pl.DataFrame:
    return pl.read_csv(files / "events.csv", infer_schema=False)


@pytest.fixture(scope="module")
def properties(files) -> pl.DataFrame:
    return pl.read_csv(files / "item_properties_part*.csv", infer_schema=False)


def test_the_files_have_the_published_names_and_headers(files):
    headers = {path.name: path.read_text().split("\n", 1)[0] for path in files.iterdir()}
    assert headers == {
        "events.csv": "timestamp,visitorid,event,itemid,transactionid",
        "item_properties_part1.csv": "timestamp,itemid,property,value",
        "item_properties_part2.csv": "timestamp,itemid,property,value",
        "category_tree.csv": "categoryid,parentid",
    }


def test_events_have_the_published_rates_and_skew(events):
    assert events.height == pytest.approx(EVENTS, rel=0.03)
    share = {kind: count / events.height for kind, count in events["event"].value_counts().iter_rows()}
    assert share["addtocart"] == pytest.approx(0.0252, rel=0.15)
    assert share["transaction"] == pytest.approx(0.0081, rel=0.2)
    per_visitor = events["visitorid"].value_counts()["count"]
    assert events.height / len(per_visitor) == pytest.approx(1.96, rel=0.05)
    assert (per_visitor == 1).mean() == pytest.approx(0.71, abs=0.05)
    assert per_visitor.max() > 100


def test_times_are_milliseconds_of_the_published_137_days_in_no_order(events):
    time = events["timestamp"].cast(pl.Int64)
    assert time.min() >= 1_430_622_000_000
    assert time.max() < 1_430_622_000_000 + 137 * 86_400_000
    assert not time.is_sorted()


def test_only_a_transaction_has_a_number_and_follows_a_cart_of_the_same_item(events):
    bought = events.filter(pl.col("event") == "transaction")
    assert bought["transactionid"].n_unique() == bought.height
    others = events.filter(pl.col("event") != "transaction")["transactionid"]
    assert others.is_null().all()
    cart = events.filter(pl.col("event") == "addtocart").select("visitorid", "itemid", cart="timestamp")
    pairs = bought.join(cart, on=["visitorid", "itemid"], how="left")
    assert pairs["cart"].is_not_null().all()


def test_properties_are_weekly_snapshots_in_the_published_forms(properties):
    assert properties.height == pytest.approx(100_000, rel=0.05)
    weeks = (properties["timestamp"].cast(pl.Int64) - 1_431_226_800_000) % (7 * 86_400_000)
    assert (weeks == 0).all()
    forms = {
        "available": r"^[01]$",
        "categoryid": r"^\d+$",
        "591": r"^n\d+\.000$",
        "785": r"^\d+( \d+ n\d+\.000)?$",
        "776": r"^\d+$",
    }
    for name, form in forms.items():
        values = properties.filter(pl.col("property") == name)["value"]
        assert values.len() > 0
        assert values.str.contains(form).all(), name


def test_categories_are_those_of_the_tree(files, properties):
    tree = pl.read_csv(files / "category_tree.csv", infer_schema=False)
    assert tree.height == 1669
    assert tree["parentid"].null_count() == 25
    used = properties.filter(pl.col("property") == "categoryid")["value"]
    assert used.is_in(tree["categoryid"].to_list()).all()


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate_retailrocket(tmp_path / name, 2_000, seed=seed, properties=2_000)
    digests = [digest_tree(tmp_path / name) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_the_command_takes_a_given_tree(tmp_path, monkeypatch):
    arguments = ["x", str(tmp_path), "--events", "1000", "--category-tree", str(REAL_TREE)]
    monkeypatch.setattr("sys.argv", [*arguments, "--properties", "1000"])
    main()
    assert (tmp_path / "category_tree.csv").read_bytes() == REAL_TREE.read_bytes()
