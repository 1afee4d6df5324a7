"""A page has the style, and neither lacks a value in silence nor lets text become markup."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from rmtl_tf.report.page import page_text


@pytest.fixture
def template(tmp_path):
    file = tmp_path / "page.html.jinja"
    file.write_text("<style>{{ css }}</style>\n{{ name|loud }}\n")
    return file


def test_values_are_text_and_the_style_is_not(template):
    page = page_text(template, {"loud": str.upper}, name="<b>")
    assert page.endswith("</style>\n&lt;B&gt;\n")
    assert "font-family" in page
    assert "&" not in page.partition("</style>")[0]


def test_a_value_that_the_template_lacks_is_an_error(template):
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        page_text(template, {"loud": str})
