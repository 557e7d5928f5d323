"""Find a Chromium that prints the book and tests its pages.

``python -m book.pipeline.chromium`` installs one. Playwright's own build is preferred. Where it
cannot be had, Chromium or Chrome of the system serves as well: nothing that is particular to one
build is used.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

_SYSTEM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_SECONDS = 300
_HOW_TO = (
    "run `python -m book.pipeline.chromium`, or install Chromium or Chrome so that one of "
    f"{', '.join(_SYSTEM_NAMES)} is on the PATH"
)

_ARGUMENTS = (
    "--no-sandbox",  # needed by root, as in most containers; only our own pages are opened
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # plots that need WebGL are drawn by the processor
    "--disable-dev-shm-usage",
    # The browser itself stays silent, so that each request is one of the page.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    # No name resolves: a page that asks for the outside fails at once instead of hanging.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class NoChromium(RuntimeError):
    """No browser can be started; the message says what to do."""


def find_chromium(playwright: Playwright) -> str | None:
    """The path of a Chromium: Playwright's own, else the system's; None where there is none."""
    own = playwright.chromium.executable_path
    if own and Path(own).is_file():
        return own
    return next(filter(None, map(shutil.which, _SYSTEM_NAMES)), None)


def launch(playwright: Playwright) -> Browser:
    """Start a headless Chromium.

    Raises:
        NoChromium: none is installed, or the one found does not start.
    """
    path = find_chromium(playwright)
    if path is None:
        raise NoChromium(f"no Chromium was found; {_HOW_TO}")
    try:
        return playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
    except Error as error:
        raise NoChromium(f"{path} does not start; {_HOW_TO}\n{error}") from error


def _starts() -> str | None:
    """None where a browser starts, else the reason why none does."""
    with sync_playwright() as playwright:
        try:
            launch(playwright).close()
        except NoChromium as error:
            return str(error)
    return None


def _install_steps() -> list[list[list[str]]]:
    """What to try, in order: Playwright's own download, then the package of Debian or Ubuntu.

    Each is a list of commands.
    """
    steps = [[[sys.executable, "-m", "playwright", "install", "chromium"]]]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if shutil.which("apt-get") and (is_root or shutil.which("sudo")):
        sudo = [] if is_root else ["sudo", "-n"]
        apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        packages = ["install", "-y", "--no-install-recommends", "chromium"]
        steps.append([[*apt, "update"], [*apt, *packages]])
    return steps


def _run(command: list[str]) -> None:
    """Run a command; where it fails, raise `NoChromium` with its last words."""
    environment = {**os.environ, "PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "10000"}
    # A file and not a pipe: a grandchild that outlives the time-out cannot hold it up.
    with tempfile.TemporaryFile("w+") as log:
        try:
            subprocess.run(
                command, check=True, stderr=log, env=environment, timeout=_INSTALL_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.seek(0)
            words = [line for line in log.read().splitlines() if "rror" in line] or [str(error)]
            raise NoChromium(words[-1].strip()) from error


def install() -> None:
    """Install a Chromium unless one starts already.

    Raises:
        NoChromium: nothing that was tried gave a browser that starts.
    """
    reason = _starts()
    for step in _install_steps():
        if reason is None:
            return
        try:
            for command in step:
                print(f"Installing Chromium: {' '.join(command)}", flush=True)
                _run(command)
        except NoChromium as error:
            print(f"That failed: {error}", flush=True)
        else:
            reason = _starts()
    if reason is not None:
        raise NoChromium(reason)


def main() -> int:
    """Make sure that there is a Chromium; the exit status says whether there is."""
    try:
        install()
    except NoChromium as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        print(f"Chromium: {find_chromium(playwright)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
