"""Headless Chromium, for tests of the status page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from helpers.daemon import PATIENCE

try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
except ImportError:
    MISSING = "selenium isn't installed: pip install selenium"
else:
    MISSING = ""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        MISSING = "there is no chromium with its driver: apt-get install chromium chromium-driver"


class Browser:
    """A browser with one page."""

    def __init__(self) -> None:
        self._forgiven: list[str] = []
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for each in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu",
                     "disable-background-networking", "hide-scrollbars"):  # fmt: skip
            options.add_argument(f"--{each}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(str(shutil.which("chromedriver")))
        self.driver = webdriver.Chrome(options=options, service=service)

    def look(self, width: int = 1440, height: int = 1000, *, dark: bool = False) -> None:
        """Look at it on a screen of this size, by day or by night."""
        command = self.driver.execute_cdp_cmd
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        command("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        """Open a page, with nothing left of the one before it."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(url)
        self.run("sessionStorage.clear()")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text of an element, shown or not; empty if there is none."""
        script = "return document.querySelector(arguments[0])?.textContent ?? ''"
        return str(self.run(script, selector))

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return list(self.run(script, selector))

    def click(self, selector: str) -> None:
        self.one(selector).click()

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so, and return it."""
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, f"it never came; the page says:\n{self.text('body')}"
            time.sleep(0.05)
        return found

    def complaints(self) -> list[str]:
        """Return what the console has to say since this was asked last, and nobody forgives."""
        said = [each["message"] for each in self.driver.get_log("browser")]
        forgiven, self._forgiven = self._forgiven, []
        return [each for each in said if not any(word in each for word in forgiven)]

    def forgive(self, word: str) -> None:
        """Have the console complain of what was meant to fail: a request that is refused."""
        self._forgiven.append(word)

    def close(self) -> None:
        self.driver.quit()
