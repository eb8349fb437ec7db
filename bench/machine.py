"""Facts about the machine and the software, since a figure without them says nothing."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("tcpd", "Twisted", "uvloop", "gevent", "pyOpenSSL")


def machine_facts() -> dict[str, str]:
    """Return the facts, by their names."""
    facts = {
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": f"Linux {re.split('[^0-9.]', platform.release())[0]}",
        "Python": platform.python_version(),
        "compiler": _first_line("cc", "--version"),
        "OpenSSL of Python": ssl.OPENSSL_VERSION,
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    if facts["pyOpenSSL"] != "not installed":
        facts["OpenSSL of pyOpenSSL"] = _their_openssl()
    return facts


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text()
    match = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    name = match[1] if match else platform.machine()
    return name + (
        ", in a virtual machine" if re.search(r"^flags.*\bhypervisor\b", text, re.M) else ""
    )


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.decode(errors="replace").partition("\n")[0]


def _their_openssl() -> str:
    from OpenSSL import SSL

    return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()
