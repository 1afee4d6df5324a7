"""The report of a run and of a study, as a browser shows them."""

from __future__ import annotations

import re

import pytest

WIDTHS = (1280, 390)
RUN_SECTIONS = {
    *("comparison", "curves", "slices", "omega", "critics", "learning", "data", "quarantine", "validation"),
    *("checks", "lineage", "configuration", "words"),
}
STUDY_SECTIONS = {"fields", "progress", "epochs", "trials", "words"}

# Elements that stick out of the window although nothing they lie in scrolls.
OUTSIDE = """[...document.querySelectorAll('main *, nav *')].filter(e => {
  if (e.closest('.scroll, pre') && !e.matches('.scroll, pre')) return false;
  if (e.closest('svg') && e.tagName !== 'svg') return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
}).map(e => e.outerHTML.slice(0, 80))"""
# Letters in plots, in CSS pixels as the window shows them; with what they say.
PLOT_TEXT = """[...document.querySelectorAll('svg.plot text')].map(e =>
  [e.getBoundingClientRect().height, e.textContent])"""
CUT = """[...document.querySelectorAll('svg.plot[role=img]')].flatMap(svg => {
  const out = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.left < out.left - 1 || box.right > out.right + 1 || box.top < out.top - 1
      || box.bottom > out.bottom + 1;
  }).map(e => svg.getAttribute('aria-label') + ': ' + e.textContent);
})"""
CELLS = "[...document.querySelectorAll('td, th, .card dd, p, li')].map(e => e.innerText)"
CONTRAST = """(() => {
  const color = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = c => c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const paper = color(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('p, td, th, li, h1, h2, svg.plot text')].map(e => {
    const style = getComputedStyle(e);
    const ink = color(e.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  }).reduce((x, y) => Math.min(x, y));
})()"""


@pytest.fixture(params=["run", "study"])
def page(request, report, study):
    """(address, the ids of its sections)."""
    if request.param == "run":
        return report.as_uri(), RUN_SECTIONS
    return (study / "tuning.html").as_uri(), STUDY_SECTIONS


@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_the_window_and_asks_for_nothing(browser, page, width):
    address, _ = page
    browser.open(address, width)
    assert browser.messages() == []
    assert [url for url in browser.requests() if url != address] == []
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(OUTSIDE) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_plots_are_visible_named_and_their_words_whole_and_large_enough(browser, page, width):
    browser.open(page[0], width)
    plots = browser.ask(
        "[...document.querySelectorAll('svg.plot[role=img]')].map(e => "
        "[e.getAttribute('aria-label'), e.getBoundingClientRect().width, e.getBoundingClientRect().height])"
    )
    assert len(plots) >= 4
    for label, *size in plots:
        assert label
        assert min(size) > 80, label
    assert (
        browser.ask(
            "document.querySelectorAll('img:not([alt]), svg:not([aria-label]):not([aria-hidden])').length"
        )
        == 0
    )
    assert browser.ask(CUT) == []
    for height, words in browser.ask(PLOT_TEXT):
        assert height > 9, words
        assert "$" not in words
        assert "mathdefault" not in words


def test_contents_lead_to_every_section(browser, page):
    address, sections = page
    browser.open(address)
    assert set(browser.ask("[...document.querySelectorAll('h2')].map(e => e.id)")) == sections
    links = browser.ask("[...document.querySelectorAll('a')].map(e => e.getAttribute('href'))")
    assert {link.removeprefix("#") for link in links} >= sections
    for link in links:
        assert link.startswith("#"), "the page is one file: it leads nowhere else"
        assert browser.ask(f"document.getElementById({link[1:]!r}) !== null"), link
    last = links[-1]
    browser.driver.find_element("css selector", f"nav a[href='{last}']").click()
    browser.until(f"document.getElementById({last[1:]!r}).getBoundingClientRect().top < innerHeight")


def test_tables_have_headings_and_numbers_a_person_reads(browser, page):
    browser.open(page[0])
    tables = browser.ask("[...document.querySelectorAll('table')].filter(e => !e.tHead && !e.caption).length")
    assert tables == 0
    empty = browser.ask(
        "[...document.querySelectorAll('tbody td, tbody th')].filter(e => !e.innerText.trim()).length"
    )
    assert empty == 0
    for text in browser.ask(CELLS):
        assert not re.search(r"\bnan\b|\bNone\b|undefined|\d\.\d{9,}", text), text
        assert not re.search(r"[({[]'|&[a-z]+;", text), text


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_the_paper_in_light_and_in_dark(browser, page, dark):
    browser.open(page[0], dark=dark)
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    assert browser.ask(CONTRAST) > 4.5, "WCAG AA"


def test_folded_parts_of_the_report_open(browser, report):
    browser.open(report.as_uri())
    first = browser.driver.find_element("css selector", "details summary")
    to_it = "arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})"
    browser.driver.execute_script(to_it, first)
    first.click()
    assert browser.ask("document.querySelector('details').open")
    assert browser.ask("document.querySelector('details pre').getBoundingClientRect().height") > 20
