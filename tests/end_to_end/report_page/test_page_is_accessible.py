"""The page fits every width, keeps its theme, and works for keyboards and screen readers."""

from itertools import pairwise

import pytest


def test_dark_mode_is_the_systems_until_it_is_chosen_and_then_kept(show, drawn):
    page = show(color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    button = page.get_by_role("button", name="Dark mode")
    assert button.get_attribute("aria-pressed") == "true"
    dark = page.evaluate(back)
    drawn(page, ".explorer .dots")
    font = "document.querySelector('.dots').layout.font.color"
    before = page.evaluate(font)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate(back) != dark
    assert page.evaluate(font) != before
    page.reload()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate(back) != dark


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_overflows(show, width):
    page = show(width, 844)
    over = "() => document.scrollingElement.scrollWidth - innerWidth"
    assert page.evaluate(over) <= 0
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for plot in page.locator(".plot .canvas").all():
        plot.scroll_into_view_if_needed()
    page.wait_for_function(
        "document.querySelectorAll('.main-svg').length >= document.querySelectorAll('.canvas').length"
    )
    assert page.evaluate(over) <= 0
    page.locator(".card-of").first.click()
    assert page.evaluate(over) <= 0
    assert page.get_by_role("dialog").evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0


CONTROLS = {"button", "link", "combobox", "slider", "spinbutton", "checkbox", "dialog", "region", "img", "navigation"}


def test_every_control_has_a_name_and_headings_step_by_one(show):
    page = show()
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    session = page.context.new_cdp_session(page)

    def unnamed():
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        seen = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in CONTROLS]
        assert len(seen) > 5
        return [node["role"]["value"] for node in seen if not node.get("name", {}).get("value", "").strip()]

    assert unnamed() == []
    levels = page.evaluate(
        "[...document.querySelectorAll('main :is(h1, h2, h3, h4, h5)')].map((one) => +one.tagName[1])"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    page.locator(".card-of").first.click()
    assert unnamed() == []


def test_the_first_tab_skips_to_the_report(show):
    page = show()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => (v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4);
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  };
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(one).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const one of document.querySelectorAll("body *:not(script, style, svg *, .canvas *)")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility() || one.disabled || one.closest(":disabled")) continue;
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.add(`${one.tagName}.${one.className}: ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(show, theme):
    page = show(color_scheme=theme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.wait_for_selector(".list td")
    assert page.evaluate(CONTRAST) == []
    page.locator(".card-of").first.click()
    assert page.evaluate(CONTRAST) == []
