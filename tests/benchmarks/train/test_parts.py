"""The parts of the benchmark of training that need no process of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.document import section
from benchmarks.speed import make_backbone
from benchmarks.train import __main__ as command
from benchmarks.train import serve as served
from benchmarks.train.bench import BACKBONES, Bench
from benchmarks.train.figures import Figure, Goal, goal_table, ratio
from benchmarks.train.parity import small
from benchmarks.train.problem import size_of, table_of, tasks_of, train_phases
from benchmarks.train.setting import Setting
from benchmarks.train.weights import named_weights
from benchmarks.train.whole_run import setting_of


def test_a_setting_survives_json_and_gives_the_same_records_everywhere():
    setting = Setting("ple", rows=9, fields=3, batch=8, batches=2, parents=(-1, 0, 1))
    again = Setting.from_json(json.loads(json.dumps(setting.to_json())))
    assert again == setting
    for mine, theirs in zip(setting.records(), again.records(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    ids, labels = setting.records()
    assert ids.shape == (2, 8, 3)
    assert labels.shape == (2, 8, 3)
    assert ids.max() == 8


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_weight_of_every_backbone_has_a_name(backbone):
    setting = small(Setting(backbone, fields=3))
    layer = make_backbone(size_of(setting), backbone)
    named = named_weights(layer)
    assert sum(value.size for value in named.values()) == layer.count_params()
    if backbone == "mmoe":
        first = np.array(layer.mixture.kernels[0])
        np.testing.assert_array_equal(named["mixture.1.0.weight"], first[:, 12:24].T)
        np.testing.assert_array_equal(named["mixture.2.3.weight"], np.array(layer.mixture.kernels[1])[2].T)
        assert named["embedding.tables.2.weight"].shape == (50, 8)
    if backbone == "single_task":
        table = np.array(layer.embedding.table)
        np.testing.assert_array_equal(named["embeddings.1.tables.2.weight"], table[100:150, 8:16])


def test_a_weight_kept_in_an_unknown_way_is_refused():
    layer = make_backbone(size_of(small(Setting("shared_bottom", fields=3))), "shared_bottom")
    vars(layer)["_towers"] = vars(layer).pop("towers")
    with pytest.raises(ValueError, match="weights"):
        named_weights(layer)


def test_tables_hold_the_records_as_sessions_that_fill_batches():
    setting = Setting("esmm", rows=9, fields=3, batch=16, batches=2)
    ids, labels = setting.records()
    table = table_of(setting, ids, labels)
    np.testing.assert_array_equal(table.features["field_2"], ids[:, :, 2].ravel())
    np.testing.assert_array_equal(table.labels, labels.reshape(-1, 2))
    assert table.windows.tolist() == [0, 8, 16, 24, 32]
    assert np.flatnonzero(table.done).tolist() == [7, 15, 23, 31]
    assert [task.parent for task in tasks_of(setting)] == [None, "task_0"]


def test_all_phases_are_timed_as_a_run_has_them():
    setting = Setting("shared_bottom", rows=9, fields=3, width=2, bottom=(4,), tower=(3,), batch=16)
    took = train_phases(setting, batches=3, epochs=1)
    assert set(took) == {"pretrain", "critic", "control", "paper", "frozen", "encoded"}
    assert all(0 < seconds < 60 for seconds in took.values())


def test_figures_are_medians_of_ratios_within_rounds():
    figure = ratio(np.array([2.0, 9.0, 4.0]), np.array([1.0, 3.0, 4.0]))
    assert figure == Figure(2.0, 1.0, 3.0)
    assert figure.show() == "2.00 [1.00, 3.00]"


def test_goals_are_reached_from_above_or_from_below():
    figure = Figure(1.2, 1.0, 1.5)
    goals = [Goal("speed", figure, 2.0), Goal("cost", figure, 1.25, least=False)]
    assert [goal.reached for goal in goals] == [False, True]
    shown = goal_table(goals)
    assert "| speed | at least 2 | 1.20 [1.00, 1.50] | no |" in shown
    assert "| cost | at most 1.25 | 1.20 [1.00, 1.50] | yes |" in shown


class Adder:
    """A framework whose model adds."""

    def make(self, setting):
        return Model(setting.batch)

    def describe(self):
        return {"version": "1"}


class Model:
    def __init__(self, batch):
        self.batch = batch

    def steps(self, count):
        return self.batch * count

    def logits(self, ids):
        return ids + self.batch


def test_a_worker_calls_its_framework_and_model_and_arrays_go_by_file(tmp_path):
    worker = served._Served(Adder())

    def ask(what, arrays=None, to=None, **arguments):
        return worker.answer({"do": what, "arguments": arguments, "arrays": arrays, "to": to})

    ask("make", **Setting("mmoe", batch=3).to_json())
    assert ask("describe") == {"version": "1"}
    assert ask("steps", count=4) == 12
    given, back = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(given, ids=np.arange(2))
    ask("logits", str(given), str(back))
    assert np.load(back)["result"].tolist() == [3, 4]
    ask("free")
    assert worker.model is None


def test_the_page_has_a_section_for_every_part():
    page = command.PAGE.read_text()
    for name in command.SECTIONS:
        section(page, name)


def test_each_part_goes_into_its_own_section(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("".join(f"{n}\n<!-- generated: {n} -->\n<!-- end: {n} -->\n" for n in ("input", "run")))
    monkeypatch.setitem(command.SECTIONS, "input", lambda bench: f"measured in {bench.rounds} rounds")
    command.main(["--only", "input", "--rounds", "4", "--no-torch", "--page", str(page)])
    text = page.read_text()
    assert "measured in 4 rounds" in section(text, "input")
    assert "Measured on " in section(text, "input")
    assert section(text, "run") == ""
    assert "measured in 4 rounds" in capsys.readouterr().out


def test_quick_writes_nothing_and_takes_one_round():
    given = command.parse(["--quick"])
    assert given.page is None
    assert given.rounds == 1
    assert Bench(quick=True).setting("ple", rows=10**6).rows == 2000


def test_without_pytorch_the_command_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "TORCH_PYTHON", tmp_path / "python")
    assert command.main([]) == 2
    assert "make bench installs it" in capsys.readouterr().err


def test_the_peer_of_a_whole_run_has_the_run_s_sizes():
    model = {"backbone": "ple", "embedding_dim": 16, "bottom": [64, 32], "tower": [32], "dropout": 0.2}
    model |= {"shared_experts": 2, "task_experts": 2, "levels": 1}
    inputs = {"categorical": [["user", 100], ["item", 51]]}
    setting = setting_of({"config": {"model": model, "training": {"batch_size": 64}}, "inputs": inputs})
    assert (setting.fields, setting.rows, setting.width, setting.bottom) == (2, 76, 16, (64, 32))
    assert (setting.shared_experts, setting.levels, setting.batch) == (2, 1, 64)
