"""Provides the browser for the browser tests: `python -m scripts.install_browser`.

Takes a Chromium or Chrome that is there; else installs Debian's package, where apt is there and it may. Where
neither can be had it says so and ends well: the tests that need a browser then skip with the reason.
"""

import os
import shutil
import subprocess

from tests.browser.lab import find_browser


def privilege() -> list[str] | None:
    """The words to put before a command that needs root: none as root, sudo where it asks no password, else None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def install_debian_package() -> None:
    """Installs Debian's Chromium, where apt is there and this user may; says why when not."""
    root = privilege()
    if shutil.which("apt-get") is None:
        print("There is no apt-get here to install Chromium with.")
        return
    if root is None:
        print("Installing Chromium needs root, or sudo without a password.")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        command = [*root, "apt-get", *words]
        print(*command, flush=True)
        if subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode != 0:
            print("It failed.")
            return


def main() -> None:
    """Finds the browser, installs it when there is none, and prints what came of it."""
    if find_browser() is None:
        install_debian_package()
    found = find_browser()
    print(f"Browser: {found or 'none. Install Chromium or Chrome; the tests that need it will be skipped.'}")


if __name__ == "__main__":
    main()
