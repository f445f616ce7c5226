"""The report in a real browser: keys move the explorer, dark and narrow screens, no requests."""

import json
import os
import shutil
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from lib.report import explorer, web
from tests.explored import CLEAN, STRENGTHS, explored, moved, score

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
CELLS = "Claim [#](#smart-x-b) | +2.0 | +1.0 [0.5, 3.5] |"
REPORT = f"""# Results
## Overview
| artifact | reproduced | partly |
|---|--:|--:|
| [smart/x](#smart-x) | 1 | 1 |
| [dnr/y](#dnr-y) | 0 | 0 |
## <a id="smart-x"></a>One
| verdict | claim | paper value | difference |
|---|---|---|---|
| reproduced | {CELLS}
| partly | <a id="smart-x-b"></a>{CELLS}
## <a id="dnr-y"></a>Other
"""
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
CONTRAST = """(() => {
  const light = (node, name) => getComputedStyle(node)[name].match(/[\\d.]+/g).slice(0, 3)
    .map((v) => ((+v / 255 + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0.05);
  const ground = light(document.querySelector("section"), "backgroundColor");
  return Math.min(...[...document.querySelectorAll("section :not(input), label, select")]
    .map((node) => light(node, "color")).map((ink) => Math.max(ink / ground, ground / ink)));
})()"""


def until(ask):
    """Return the first answer that is one."""
    for _ in range(1200):
        try:
            if answer := ask():
                return answer
        except (OSError, IndexError):
            pass
        time.sleep(0.1)
    raise TimeoutError


class Browser:
    """A browser without windows, spoken to in the DevTools protocol."""

    def __init__(self, home):
        words = f"--headless --disable-gpu --remote-debugging-port=0 --user-data-dir={home}"
        words += " --remote-allow-origins=*" + " --no-sandbox" * (os.geteuid() == 0)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([PROGRAM, *words.split(), "about:blank"], **quiet)
        port = until(lambda: (home / "DevToolsActivePort").read_text().split()[0])
        pages = until(lambda: json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json")))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        websocket = pytest.importorskip("websocket")
        self.socket, self.events = websocket.create_connection(address, timeout=120), []
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        self.socket.send(json.dumps({"id": 1, "method": method, "params": params}))
        while "id" not in (answer := json.loads(self.socket.recv())):
            self.events.append(answer)
        return answer["result"]

    def js(self, code):
        return self("Runtime.evaluate", expression=code, returnByValue=True)["result"].get("value")

    def all(self, chosen, what):
        """Return something of every visible element that a selector chooses."""
        found = f"[...document.querySelectorAll('{chosen}')].filter((e) => e.checkVisibility())"
        return self.js(f"{found}.map((e) => {what})") or []

    def press(self, chosen, *keys):
        self.js(f"document.querySelector('{chosen}').focus()")
        for key in keys:
            how = {"key": key, "windowsVirtualKeyCode": KEYS[key]}
            self("Input.dispatchKeyEvent", type="rawKeyDown", **how)
            self("Input.dispatchKeyEvent", type="keyUp", **how)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    home = tmp_path_factory.mktemp("browser")
    (home / "x.json").write_text(json.dumps(explored()))
    (home / "index.html").write_text(web.html(REPORT, explorer.read(home / "x.json")))
    browser = Browser(home)
    yield browser, f"file://{home}/index.html"
    browser.process.kill()
    browser.process.wait()


@pytest.fixture
def page(opened):
    """Return the browser with the page as it opens."""
    browser, address = opened
    browser("Page.navigate", url=address)
    until(lambda: len(browser.all("canvas", "1")) == 6)
    return browser


@pytest.mark.parametrize("strength", STRENGTHS)
def test_keys_show_the_numbers_and_images_of_the_data(page, strength):
    page.press("#x-lam", "ArrowLeft")
    page.press("#x-strength", *[["ArrowLeft"], [], ["ArrowRight"]][int(strength)])  # opens at 1
    page.press("#x-method", "ArrowUp")
    until(lambda: page.all("#x-samples", "e.ariaBusy") == ["false"])  # unpacked beside the numbers
    said, title = page.all("#x-said, #x-samples-title", "e.textContent")
    told = "{:.1f} [{:.1f}, {:.1f}] % of {:,.0f} images".format(*score("PGD-AT", 0.2, strength))
    assert told in said and f"{int(strength == 2)} of the 2" in said
    assert ("without" in title) == (strength == 0)
    assert page.all("#x-lam", "e.ariaValueText") == ["λ = 0.2"]
    assert page.all("[aria-current] td", "e.textContent")[2:] == ["35M", "700K", "700K"]
    found = page.all("canvas", "[...e.getContext('2d').getImageData(0, 0, 8, 8).data]")
    found = np.array(found).reshape(2, 3, 8, 8, 4)[..., 1].swapaxes(0, 1)
    by = moved(0.2)[int(strength)].numpy()[:, 0].astype(int)
    x = CLEAN.numpy()[:, 0].astype(int)
    wanted = (x, 128 + by * 127 / max(1, 25.5 * strength), x + by)  # magnified, and their sum
    assert abs(found - np.clip(wanted, 0, 255)).max() <= 0.5


def test_controls_and_images_have_names_and_nothing_is_asked_for(page):
    names = {"slider": [], "combobox": [], "image": []}
    for node in page("Accessibility.getFullAXTree")["nodes"]:
        names.get(node["role"]["value"], []).append(node.get("name", {}).get("value"))
    assert [len(found) for found in names.values()] == [2, 4, 9]
    assert all(name for found in names.values() for name in found)
    asked = [e["params"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
    urls = {one["request"]["url"].partition("#")[0] for one in asked}
    assert urls <= {asked[0]["documentURL"], "data:,"}
    wrong = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert not [event for event in page.events if event["method"] in wrong]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_text_is_legible_and_nothing_is_cut_off_on_any_screen(page, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page("Emulation.setDeviceMetricsOverride", **size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page("Emulation.setEmulatedMedia", features=features)
    assert page.js(CONTRAST) >= 4.5 and page.all("html", "e.scrollWidth") <= [width]
    assert all(page.all(".scroll", "e.scrollWidth <= e.clientWidth"))
    page.press("#x-lam", "ArrowLeft")
    assert page.all("#x-lam", "getComputedStyle(e).outlineStyle") == ["solid"]


def test_filters_leave_what_was_chosen_and_a_link_to_a_claim_undoes_them(page):
    def left():
        return page.all("#filtered, td .chip, section > h2:has(a)", "e.textContent")

    every = left()
    assert every[1:] == ["One", "reproduced", "partly", "Other"]
    assert len(page.all("svg.bar", "1")) == 2
    page.press("#of-verdict", "ArrowDown")
    assert left() == ["1 of 2 artifacts, 1 of 2 claims", "One", "reproduced"]
    page.js("location.hash = 'smart-x-b'")
    until(lambda: left() == every)
    page.press("#of-paper", "ArrowDown", "ArrowDown")
    assert left() == ["1 of 2 artifacts, 0 of 2 claims", "Other"]
