from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rmtl_tf.errors import UserError
from rmtl_tf.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
JSON = Registry("parts.name", {"decoder": "json.decoder:JSONDecoder", "encoder": "json.encoder:JSONEncoder"})


def test_a_name_is_imported_when_it_is_used():
    import json

    assert JSON["decoder"] is json.JSONDecoder
    assert JSON.attribute("JSONEncoder") is json.JSONEncoder
    assert list(JSON) == ["decoder", "encoder"]
    assert len(JSON) == 2


def test_a_misspelt_name_names_the_field_and_the_nearest():
    with pytest.raises(UserError, match=r'parts\.name: no "decodr"; did you mean "decoder"\?'):
        JSON.check("decodr")
    assert "decodr" not in JSON
    with pytest.raises(AttributeError, match="Absent"):
        JSON.attribute("Absent")


def test_a_part_of_ones_own_is_named_by_module_and_class_where_that_is_allowed():
    import json

    own = Registry("parts.name", {"decoder": "json.decoder:JSONDecoder"}, own=True)
    assert own["json.encoder:JSONEncoder"] is json.JSONEncoder
    assert own.own_file("json.encoder:JSONEncoder") == Path(json.encoder.__file__)
    assert own.own_file("decoder") is None
    assert list(own) == ["decoder"]
    with pytest.raises(UserError, match=r'no "json\.encoder:JSONEncoder"'):
        JSON.check("json.encoder:JSONEncoder")


@pytest.mark.parametrize("name", ["absent:Part", "json.absent:Part", "absent.deeper:Part"])
def test_an_own_part_whose_module_is_not_found_is_refused_with_what_to_do(name):
    with pytest.raises(
        UserError, match=f"parts.name: expected .* received {name}. Put its folder on PYTHONPATH"
    ):
        Registry("parts.name", {}, own=True).check(name)


def test_an_own_part_that_its_module_lacks_is_refused():
    with pytest.raises(UserError, match=r"parts\.name: expected Absent in json, which has none"):
        Registry("parts.name", {}, own=True)["json:Absent"]


@pytest.mark.parametrize("package", ["backbones", "weighting", "data.datasets"])
def test_registries_are_read_without_heavy_imports(package):
    script = (
        f"import sys, rmtl_tf.{package};"
        "print({'tensorflow', 'keras', 'polars', 'apache_beam', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_every_registered_part_can_be_imported():
    from rmtl_tf.backbones import BACKBONES
    from rmtl_tf.data.datasets import READERS
    from rmtl_tf.weighting import WEIGHTINGS

    for registry in (BACKBONES, WEIGHTINGS, READERS):
        for name in registry:
            assert registry[name] is not None
