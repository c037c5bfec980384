"""Take the README's picture of MLflow's page: ``python docs/mlflow_picture.py``, in a project that has tracked runs.

It starts MLflow's page and Chromium (``chromedriver``, from Debian's package ``chromium-driver``) on free ports of this
machine, and ends both.
"""

import argparse
import base64
import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
from PIL import Image

SIZE = (1400, 900)  # pixels
MOST_BYTES = 500_000
PATIENCE = 120  # seconds, for a server to answer or a page to show something
# Choices that the browser remembers: models instead of agents; the assistant is closed.
CHOICES = {"mlflow.workflowType_v1": '"machine_learning"', "mlflow.assistant.panelOpen_v1": "false"}
CHOICES["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"] = "true"
HIDE = """const style = document.createElement("style");
style.textContent = arguments[0] + " {display: none !important}";
document.head.append(style)"""
EXPAND = "document.querySelectorAll('button[data-component-id*=runnamecellrenderer]').forEach(b => b.click())"
OPTIONS = ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1] + 150}"]


def wait_for(found: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; exit with a message if that takes too long."""
    end = time.monotonic() + PATIENCE
    while not found():
        if time.monotonic() > end:
            raise SystemExit(f"Error: {what} did not come within {PATIENCE} seconds.")
        time.sleep(0.3)


def answers(url: str) -> bool:
    """Whether a server answers."""
    try:
        urllib.request.urlopen(url, timeout=5)
    except OSError:
        return False
    return True


@contextmanager
def served(command: list[str], path: str) -> Iterator[str]:
    """The address of a server that is started on a free port (``{port}`` in the command), and ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    filled = [part.replace("{port}", port) for part in command]
    process = subprocess.Popen(filled, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}{path}"), command[0])
        if process.poll() is not None:
            raise SystemExit(f"Error: {' '.join(filled)} ended at once.")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Browser:
    """A session with chromedriver, by the few commands of the WebDriver protocol that are needed."""

    def __init__(self, driver: str) -> None:
        options = {"goog:chromeOptions": {"args": OPTIONS}}
        opened = self._ask(f"{driver}/session", {"capabilities": {"alwaysMatch": options}})
        self.session = f"{driver}/session/{opened['sessionId']}"

    def open(self, url: str) -> None:
        """Go to a page."""
        self._ask(f"{self.session}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The result of JavaScript in the page."""
        return self._ask(f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def picture(self) -> Image.Image:
        """A picture of the page."""
        return Image.open(BytesIO(base64.b64decode(self._ask(f"{self.session}/screenshot"))))

    def close(self) -> None:
        """End the browser."""
        self._ask(self.session, method="DELETE")

    def _ask(self, url: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["value"]


def take(store: str, page: str, shown: list[str], hidden: str) -> Image.Image:
    """A picture of one of MLflow's pages, once it shows all the texts.

    Args:
        store: of the runs, as ``mlflow ui`` takes it.
        page: what follows ``#`` in the address.
        shown: texts to wait for.
        hidden: CSS selector of what is not to be seen.
    """
    ui = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--port", "{port}", "--workers", "1"]
    with served(ui, "/health") as address, served(["chromedriver", "--port={port}"], "/status") as driver:
        browser = Browser(driver)
        try:
            browser.open(address)
            browser.run("for (const k in arguments[0]) localStorage.setItem(k, arguments[0][k])", CHOICES)
            browser.open(f"{address}/?picture#{page}")  # another address, so that the choices are read
            text = "return arguments[0].every(t => document.body.innerText.includes(t))"
            wait_for(lambda: bool(browser.run(text, shown)), " and ".join(shown))
            browser.run(EXPAND)  # runs that have others below them
            browser.run(HIDE, hidden)
            time.sleep(5)  # charts are drawn after their titles
            return browser.picture()
        finally:
            browser.close()


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--store", default="sqlite:///mlflow.db")
    parser.add_argument("--page", help="what follows # in the address; by default the charts of runs on moving_symbols")
    parser.add_argument("--shown", nargs="*", default=["evaluation/psnr"], help="texts to wait for")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "images" / "mlflow.png")
    arguments = parser.parse_args()
    experiment = mlflow.MlflowClient(arguments.store).get_experiment_by_name("linear_video")
    if experiment is None:
        parser.exit(1, f"Error: {arguments.store} has no runs; train something first: kedro run --pipelines=ile\n")
    number = experiment.experiment_id
    search = urllib.parse.quote('tags.dataset = "moving_symbols"')
    page = arguments.page or f"/experiments/{number}/runs?compareRunsMode=CHART&searchFilter={search}"
    picture = take(arguments.store, page, arguments.shown, ".modebar").convert("RGB").quantize(256)
    picture.save(arguments.to, optimize=True)
    print(f"{arguments.to}: {picture.size[0]}x{picture.size[1]}, {arguments.to.stat().st_size} bytes")
    if arguments.to.stat().st_size > MOST_BYTES:
        parser.exit(1, f"Error: {arguments.to} has more than {MOST_BYTES} bytes; take a smaller page.\n")


if __name__ == "__main__":
    main()
