#!/usr/bin/env python3
"""Tests the page in headless Chromium while the demo is under load, and saves screenshots.

    cargo build --release
    pip install playwright        # and a Chromium: apt-get install chromium
    python benches/page/run.py [--screenshots DIR]

It opens the page as a desktop and as a phone 360 pixels wide, in light and in dark mode. It checks that
the console shows no error, that no request goes to another origin, that the page does not scroll
horizontally, that every figure is present, that the keyboard reaches every control, and that the text has
enough contrast. Then it checks the playground, a hidden tab, names that are HTML scripts, a server that
stops, and a server with an admin key.
"""

import argparse
import pathlib
import re
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

import machine  # noqa: E402
from farthing_server import FarthingServer  # noqa: E402
from load import Load  # noqa: E402

SIZES = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "device_scale_factor": 1},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
SCHEMES = ["light", "dark"]
CHROMIUM = ["chromium", "chromium-browser", "google-chrome"]
#: The controls that the Tab key must reach, in this order.
TAB_ORDER = ["skip", "span", "model", "prompt", "max-tokens", "temperature", "send"]
#: With this flag, the page has all three figures.
FLAGS = ["--slo-tokens-per-second", "500"]
ADMIN_KEY = "open sesame"
#: The time limit for an answer under load.
PATIENCE_MS = 60_000
#: The minimum contrast of text in WCAG 2, level AA.
CONTRAST = 4.5


class Watch:
    """Collects a page's console errors, exceptions and requests."""

    def __init__(self, page: Page, origin: str):
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self.origin = origin
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        page.on("request", self._request)
        page.on("dialog", self._dialog)

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _request(self, request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith(self.origin + "/"):
            self.wrong.append(f"asks another origin: {request.url}")

    def _dialog(self, dialog) -> None:
        self.wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()


class Checks:
    """Counts failed checks, and prints each result as soon as it is known."""

    def __init__(self) -> None:
        self.failed = 0

    def that(self, what: str, holds: bool, detail: object = "") -> None:
        self.failed += not holds
        print(f"  {'ok  ' if holds else 'FAIL'} {what}{'' if holds else f': {detail}'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screenshots", type=pathlib.Path, default=machine.TARGET / "page")
    parser.add_argument("--warm-up", type=float, default=25, help="seconds of load before the checks")
    arguments = parser.parse_args()
    arguments.screenshots.mkdir(parents=True, exist_ok=True)
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        sys.exit("there is no Chromium: apt-get install chromium")
    checks = Checks()
    with sync_playwright() as playwright, FarthingServer(*FLAGS) as server:
        browser = playwright.chromium.launch(executable_path=executable)
        origin = f"http://{server.address}"
        look_at_nothing(browser, origin, checks)
        with Load(server.address) as load:
            time.sleep(arguments.warm_up)
            for size in SIZES:
                for scheme in SCHEMES:
                    look(browser, origin, size, scheme, arguments.screenshots, checks)
            use(browser, origin, checks)
            checks.that("answers came", load.answers > 0 and not load.failures, load.failures)
        lose(browser, server, origin, checks)
        with FarthingServer("--admin-key", ADMIN_KEY) as guarded:
            unlock(browser, f"http://{guarded.address}", checks)
        browser.close()
    print(f"screenshots in {arguments.screenshots}")
    sys.exit(1 if checks.failed else 0)


def look_at_nothing(browser: Browser, origin: str, checks: Checks) -> None:
    print("before the first request")
    page = browser.new_page()
    watch = Watch(page, origin)
    page.goto(origin)
    page.wait_for_selector("body[data-state=live]")
    costs = page.locator("#unit-costs").inner_text()
    checks.that("what is unknown is a dash", "$" not in costs and costs.count("–") == 12, costs)
    note = page.locator("#costs-note").inner_text()
    checks.that("and the page says why", "No tokens yet" in note, note)
    checks.that("no error, no other origin", not watch.wrong, watch.wrong)
    page.close()


def look(
    browser: Browser, origin: str, size: str, scheme: str, folder: pathlib.Path, checks: Checks
) -> None:
    print(f"{size}, {scheme}")
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce", **SIZES[size])
    page = context.new_page()
    watch = Watch(page, origin)
    page.goto(origin)
    page.wait_for_selector("body[data-state=live]")
    page.wait_for_timeout(300)
    page.screenshot(path=folder / f"{size}-{scheme}.png", full_page=True)
    check_figures(page, checks)
    width = SIZES[size]["viewport"]["width"]
    scrolls = page.evaluate("document.documentElement.scrollWidth") > width
    checks.that("nothing scrolls sideways", not scrolls)
    wide = page.evaluate(WIDE)
    checks.that("nothing sticks out of its card", not wide, wide)
    low = page.evaluate(LOW_CONTRAST, CONTRAST)
    checks.that("all text can be read", not low, low)
    check_keyboard(page, checks)
    checks.that("no error, no other origin", not watch.wrong, watch.wrong)
    context.close()


def check_figures(page: Page, checks: Checks) -> None:
    texts = {
        name: page.locator(f"#{name}").inner_text()
        for name in (
            "unit-costs", "rivals", "models", "tenants", "buckets", "latencies", "memory", "fit",
        )
    }  # fmt: skip
    for name, pattern in {
        "unit-costs": r"input(\s+\$[\d.]+){3}[\s\S]*cached[\s\S]*output\s+\$[\d.]+",
        "rivals": r"this machine, loaded[\s\S]*gpt-4o[\s\S]*\$10\.0[\s\S]*\d{4}-\d\d-\d\d",
        "models": r"payment-json[\s\S]*\$0\.\d+",
        "tenants": r"acme[\s\S]*\$0\.\d+",
        "buckets": r"computing\s+[\d.]+ %[\s\S]*idle\s+[\d.]+ %",
        "latencies": r"first token\s+[\d.]+ m?s\s+[\d.]+ m?s\s+[\d.]+ m?s",
        "memory": r"weights\s+[\d.]+ MiB[\s\S]*KV cache\s+[\d.]+ [GM]iB",
        "fit": r"0\.\d{4}",
    }.items():
        checks.that(f"figures of {name}", bool(re.search(pattern, texts[name])), texts[name])
    checks.that("a name stays a text", "<img src=x" in texts["tenants"], texts["tenants"])
    marks = page.locator("#curve .today, #curve .curve, #curve .rival").count()
    checks.that("the curve, today's point and the rivals", marks >= 4, marks)


def check_keyboard(page: Page, checks: Checks) -> None:
    reached, unseen = [], []
    page.evaluate("document.activeElement.blur()")
    for _ in range(40):
        page.keyboard.press("Tab")
        name, is_seen = page.evaluate(FOCUSED)
        if name is None or name in reached:
            break
        reached.append(name)
        if not is_seen:
            unseen.append(name)
    known = [name for name in reached if name in TAB_ORDER]
    checks.that("the Tab key's order", known == TAB_ORDER, reached)
    checks.that("the focus is seen", not unseen, unseen)


def use(browser: Browser, origin: str, checks: Checks) -> None:
    print("playground")
    page = browser.new_page()
    watch = Watch(page, origin)
    page.goto(origin)
    expect(page.locator("#model option")).to_have_count(3)
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    cost = page.locator("#answers li:first-child .note")
    expect(cost).to_contain_text("busy", timeout=PATIENCE_MS)
    told = cost.inner_text()
    pattern = r"\$0\.\d+ busy, \$0\.\d+ loaded, \$0\.\d+ at capacity · [\d.]+ m?s of the device"
    checks.that("an answer and its cost", bool(re.match(pattern, told)), told)
    checks.that("its text", "Paris" in page.locator("#answers .answered").first.inner_text())

    page.fill("#prompt", "Count to a thousand.")
    page.press("#prompt", "Control+Enter")
    page.wait_for_selector("#stop:enabled")
    page.keyboard.press("Enter")  # The Stop button has the focus.
    expect(cost).to_contain_text("Stopped", timeout=PATIENCE_MS)
    checks.that("Stop ends an answer", page.locator("#send").is_enabled())
    checks.that("no error yet", not watch.wrong, watch.wrong)

    page.fill("#max-tokens", "999999999")
    page.press("#prompt", "Control+Enter")
    page.wait_for_selector("#answers li.failed")
    refusal = page.locator("#answers li.failed .note").inner_text()
    checks.that("a refusal is shown", "context" in refusal or "max_tokens" in refusal, refusal)

    page.evaluate(HIDE, True)
    page.wait_for_timeout(500)  # Requests in progress end.
    before = len(watch.requests)
    page.wait_for_timeout(4500)
    checks.that("a hidden tab asks nothing", len(watch.requests) == before)
    page.evaluate(HIDE, False)
    page.wait_for_timeout(1000)
    checks.that("a shown one does", len(watch.requests) > before)
    page.close()


def lose(browser: Browser, server: FarthingServer, origin: str, checks: Checks) -> None:
    print("a server that goes away")
    page = browser.new_page()
    page.goto(origin)
    page.wait_for_selector("body[data-state=live]")
    began = time.perf_counter()
    server.stop()
    took = time.perf_counter() - began
    page.wait_for_selector("body[data-state=gone]")
    status = page.locator("#status").inner_text()
    checks.that("the page says so", "does not answer: figures are of" in status, status)
    checks.that("an open page does not hold the server up", took < 5, f"{took:.1f} s")
    page.close()


def unlock(browser: Browser, origin: str, checks: Checks) -> None:
    print("a server with an admin key")
    page = browser.new_page()
    watch = Watch(page, origin)
    page.goto(origin)
    page.wait_for_selector("body[data-state=live]")
    checks.that("tenants are hidden", not page.locator("#tenants-table").is_visible())
    page.fill("#admin-key", "a guess")
    page.press("#admin-key", "Enter")
    expect(page.locator("#unlock-note")).to_have_text("That is not the admin key.")
    checks.that("from those without the key", not page.locator("#tenants-table").is_visible())
    page.fill("#admin-key", ADMIN_KEY)
    page.press("#admin-key", "Enter")
    expect(page.locator("#tenants-table")).to_be_visible()
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    kept += page.content() + page.url
    checks.that("the key is kept nowhere", ADMIN_KEY not in kept)
    checks.that("no error, no other origin", not watch.wrong, watch.wrong)
    page.close()


#: Elements that extend beyond the right edge of their section.
WIDE = """() => [...document.querySelectorAll('section *:not(.hidden)')]
    .filter((it) => it.getBoundingClientRect().right
        > it.closest('section').getBoundingClientRect().right)
    .map((it) => it.id || it.className || it.tagName)"""

#: Texts with too little contrast to their background.
LOW_CONTRAST = """(least) => {
    const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = (color) => {
        const [r, g, b] = rgb(color).slice(0, 3).map((it) => it / 255)
            .map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (it) => {
        const color = getComputedStyle(it).backgroundColor;
        const isSeen = (rgb(color)[3] ?? 1) > 0;
        return isSeen || !it.parentElement ? color : behind(it.parentElement);
    };
    const hasText = (child) => child.nodeType === 3 && child.data.trim();
    const isText = (it) => [...it.childNodes].some(hasText);
    const isShown = (it) => it.checkVisibility() && !it.closest('.hidden, .skip, :disabled');
    const texts = [...document.querySelectorAll('body *')].filter(isText).filter(isShown);
    const found = texts.map((it) => {
        const style = getComputedStyle(it);
        const color = it instanceof SVGElement ? style.fill : style.color;
        const [a, b] = [luminance(color), luminance(behind(it))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), it.textContent.trim().slice(0, 30)];
    });
    return found.filter(([ratio]) => ratio < least);
}"""

#: The name of the element that has the focus, and whether the focus is visible.
FOCUSED = """() => {
    const it = document.activeElement;
    if (it === document.body) return [null, true];
    const name = it.id || it.name || it.className || it.textContent.trim().slice(0, 30);
    const outlined = (element) => getComputedStyle(element).outlineStyle !== 'none';
    const next = it.nextElementSibling;  // A hidden radio button's label.
    return [name, outlined(it) || (next !== null && outlined(next))];
}"""

#: Does what a browser does when it hides or shows the tab.
HIDE = """(isHidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


if __name__ == "__main__":
    main()
