"""Chromium without a screen, driven by the chromedriver beside it; nothing is downloaded."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

INSTALL = "apt-get install chromium chromium-driver (Debian)"


class Browser:
    """One window.

    Raises:
        RuntimeError: there is no chromium or no chromedriver on this machine.
    """

    def __init__(self) -> None:
        places = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
        if missing := [name for name, place in places.items() if place is None]:
            raise RuntimeError(
                f"expected {' and '.join(missing)} on the PATH, found none. Install: {INSTALL}"
            )
        options = webdriver.ChromeOptions()
        options.binary_location = str(places["chromium"])
        # Root, as in most containers, may not use chromium's sandbox; the pages are our own.
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # A driver by path: selenium's manager has nothing to look for.
        self.driver = webdriver.Chrome(options=options, service=Service(str(places["chromedriver"])))

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Loads a page in a window of so many CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get("about:blank")  # else another #part of the same page would not load it again
        self.messages(), self.requests()  # of the page before
        self.driver.get(url)

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(name, arguments)
        return answer

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return {script}")

    def until(self, script: str, seconds: float = 40.0) -> Any:
        """Waits until an expression has a value that counts as true.

        Raises:
            AssertionError: it never had.
        """
        return wait_for(lambda: self.ask(script), script, seconds)

    def messages(self) -> list[str]:
        """What the console said since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def picture(self, file: Path, height: int | None = None) -> None:
        """A PNG of the top of the page, as high as the window or as `height` says."""
        area = self.ask("[innerWidth, innerHeight]")
        clip = {"x": 0, "y": 0, "width": area[0], "height": height or area[1], "scale": 1}
        answer = self.command("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        self.driver.quit()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(0.2)
    return value
