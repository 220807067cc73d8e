"""What tests ask of a page in the browser, or of its text."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


class Elements(HTMLParser):
    """All elements of a document with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def opened(browser, path: Path) -> None:
    """Open a page and hold that it opens in peace."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(path.as_uri())
    assert_quiet(browser)


def assert_quiet(browser) -> None:
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.pwned") is None
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []


def follow(browser, link) -> None:
    """Click a link and wait until the browser is there."""
    target = link.get_attribute("href")
    link.click()
    WebDriverWait(browser, 60).until(lambda b: b.current_url == target)


def column(browser, index: int) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#list tbody tr')]"
        ".map(row => row.cells[arguments[0]].textContent)",
        index,
    )


def told(browser) -> str:
    return browser.find_element(By.ID, "told").text


def pictures(path: Path) -> list[np.ndarray]:
    """Return the pictures inside a page, the scale of the heat maps left out."""
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', path.read_text(encoding="utf-8"))
    decoded = [np.array(Image.open(io.BytesIO(base64.b64decode(blob)))) for blob in found]
    return [picture for picture in decoded if picture.shape[0] > 10]


def axe(browser) -> list[str]:
    """Return what axe-core finds wrong with a page, WCAG 2.1 A and AA."""
    source = resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
    browser.execute_script(source)
    answer = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"
        ".then(r => done(r.violations), e => done([{id: String(e), nodes: []}]));"
    )
    return [f"{v['id']}: {[n['html'][:120] for n in v['nodes'][:3]]}" for v in answer]


def dark(browser, on: bool) -> None:
    value = "dark" if on else "light"
    feature = {"name": "prefers-color-scheme", "value": value}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
