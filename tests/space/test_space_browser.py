"""The demo page in a browser: by mouse, by keyboard, on a phone, in dark mode."""

import os

import pytest
from space_fixtures import HOSTILE, SENTENCE

pytest_plugins = ("space_fixtures",)


@pytest.fixture
def page(url, client, chromium):
    """The page; nothing but the app is asked for anything, and no script of a text runs."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.problems = []
        tab.on("pageerror", lambda error: tab.problems.append(str(error)))
        tab.on("request", lambda r: not r.url.startswith((url, "data:", "blob:")) and tab.problems.append(r.url))
        tab.goto(url)
        tab.wait_for_selector("#examples button")
        yield tab
        assert tab.evaluate("window.broken") is None
        assert tab.problems == []
        browser.close()


def shots(page, name):
    """A screenshot where somebody wants to look at it."""
    if folder := os.environ.get("DIM_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


@pytest.mark.browser
def test_click_through(page):
    page.click("#examples button >> nth=0")
    page.wait_for_selector(".dim-column >> nth=1")
    assert page.input_value("#sentence textarea, #sentence input") == SENTENCE
    assert page.locator(".dim-column").first.locator(".dim-card").count() == 3
    assert page.locator(".dim-legend").inner_text().count("%") >= 1
    page.fill("#name textarea, #name input", "Turkey of the year")
    page.fill("#description textarea", f"picked at random {HOSTILE}")
    page.click("#save")
    page.wait_for_selector(".dim-good")
    assert page.locator(".dim-edited").count() == 2  # beside each other: with the picture, and without
    assert "picked at random </script>" in page.locator(".dim-column").first.inner_text()
    page.click("#reset")
    page.wait_for_selector("text=All edits are reverted.")
    assert page.locator("text=picked at random").count() == 0
    shots(page, "click")


@pytest.mark.browser
def test_by_keyboard(page):
    page.focus("#sentence textarea, #sentence input")
    page.keyboard.type(SENTENCE)
    page.keyboard.press("Enter")
    page.wait_for_selector(".dim-card")
    page.wait_for_function("document.querySelector('#description textarea, #description input').value !== ''")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#description') !== null"):
            break
    page.keyboard.type(" seen by all")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id || document.activeElement.closest('button')?.id") == "save":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".dim-edited")
    page.wait_for_function("document.querySelector('.dim-results').innerText.includes('seen by all')")
    page.focus("#who input")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("[role=option] >> nth=3")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_function("!document.querySelector('#description textarea, #description input').value.includes('all')")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(page, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{page.url.split('?')[0]}?__theme={scheme}")
    page.wait_for_selector("#examples button")
    page.click("#examples button >> nth=1")
    page.wait_for_selector(".dim-column >> nth=1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tops = [page.locator(one).first.bounding_box()["y"] for one in ("#examples button", "#sentence", "#link")]
    assert tops == sorted(tops)
    outside = """() => [...document.querySelectorAll('.dim-card, .dim-question')]
      .filter(e => e.getBoundingClientRect().right > innerWidth).length"""
    assert page.evaluate(outside) == 0
    ink, paper = (page.eval_on_selector(".dim-card", f"e => getComputedStyle(e).{name}")
                  for name in ("color", "backgroundColor"))  # fmt: skip
    dark, light = ("rgb(20, 24, 31)", "rgb(255, 255, 255)")
    assert paper == (dark if scheme == "dark" else light)
    assert ink == ("rgb(241, 245, 249)" if scheme == "dark" else "rgb(30, 41, 59)")
    shots(page, f"phone-{scheme}")
