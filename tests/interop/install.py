"""Installs the foreign peers into .cache/interop; `python -m tests.interop.install`.

Each peer is built by its own language's package client from the files in peers/, once
per content of those files. Chromium comes with the system, and its driver too (Debian's
`chromium` and `chromium-driver`); only what speaks to the driver is installed here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "interop"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


def run(*command: str, cwd: Path) -> None:
    """One installation step; its output is shown when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def install_js(home: Path) -> None:
    run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=home)


def install_py(home: Path) -> None:
    venv.create(home / "venv", with_pip=True)
    pip = str(home / "venv" / "bin" / "pip")
    run(pip, "install", "--quiet", "-r", "requirements.txt", cwd=home)


def install_go(home: Path) -> None:
    run("go", "build", "-o", "peer", ".", cwd=home)


# name: (the tool that must be there, how to install, how to start)
PROGRAMS: dict[str, tuple[str, Callable[[Path], None], list[str]]] = {
    "js": ("npm", install_js, ["node_modules/.bin/node", "peer.mjs"]),
    "py": ("python3", install_py, ["venv/bin/python", "peer.py"]),
    "go": ("go", install_go, ["./peer"]),
}


def fingerprint(source: Path) -> str:
    """Changes whenever a file of the peer changes."""
    digest = hashlib.sha256()
    for path in sorted(source.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def command_of(name: str) -> list[str]:
    """The command that starts an installed peer, paths absolute."""
    home = CACHE / name
    program, *arguments = PROGRAMS[name][2]
    return [str(home / program), *(str(home / argument) for argument in arguments)]


def is_installed(name: str) -> bool:
    stamp = CACHE / name / ".installed"
    return stamp.exists() and stamp.read_text() == fingerprint(PEERS / name)


def install(name: str) -> None:
    """Install one peer; nothing to do when its files did not change."""
    if is_installed(name):
        return
    home = CACHE / name
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(PEERS / name, home)
    PROGRAMS[name][1](home)
    (home / ".installed").write_text(fingerprint(PEERS / name))


def lacking() -> list[str]:
    """What there must be for the tests of browsers, and is not."""
    tools = {"chromium": BROWSER, "chromedriver": DRIVER}
    return [name for name, path in tools.items() if path is None]


def has_browser() -> bool:
    return not lacking() and importlib.util.find_spec("selenium") is not None


def install_browser() -> None:
    """Install what drives the browser, into the environment of the tests."""
    if tools := lacking():
        print(f"interop: no {' and no '.join(tools)} on this machine, so no browser")
    elif not has_browser():
        print("interop: installing what drives the browser", flush=True)
        pip = (sys.executable, "-m", "pip", "install", "--quiet")
        run(*pip, "--group", "interop", cwd=ROOT)


def main() -> None:
    """Install every peer whose language is here, and name those that are not."""
    install_browser()
    for name, (tool, _, _) in PROGRAMS.items():
        if shutil.which(tool) is None:
            print(f"interop: no {tool} on this machine, so no {name} peer")
            continue
        print(f"interop: installing the {name} peer", flush=True)
        install(name)


if __name__ == "__main__":
    sys.exit(main())
