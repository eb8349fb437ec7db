"""Run a command under the memory and system call rules of a systemd unit, without systemd.

    python hardened.py UNIT COMMAND...

Whatever the unit forbids kills the process, where systemd would only refuse the call: a test is
to notice it. The unit's groups of system calls are those of the systemd that is installed.
"""

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

PR_SET_NO_NEW_PRIVS = 38  # prctl(2), linux/prctl.h
PR_SET_MDWE = 65
PR_MDWE_REFUSE_EXEC_GAIN = 1
KILL_PROCESS = 0x80000000  # seccomp(2)
ALLOW = 0x7FFF0000

_libc = ctypes.CDLL(None, use_errno=True)


def deny_write_execute():
    """Do what MemoryDenyWriteExecute=yes does; raise OSError if the kernel can't (before 6.3)."""
    _prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
    except PermissionError:
        return
    raise AssertionError("the kernel allows memory to be written and executed")


def allowed_calls(unit):
    """Return the names of the system calls that a unit allows."""
    lines = unit.read_text().splitlines()
    rules = [line.partition("=")[2] for line in lines if line.startswith("SystemCallFilter=")]
    assert rules, f"{unit} filters nothing"
    allowed = set()
    for rule in rules:
        named = {call for word in rule.lstrip("~").split() for call in _expanded(word)}
        allowed = allowed - named if rule.startswith("~") else allowed | named
    return allowed | _expanded("@default")  # always allowed, see systemd.exec(5)


def filter_calls(allowed):
    """Kill this process when it makes any other system call than these."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
    ]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    context = library.seccomp_init(KILL_PROCESS)
    for name in allowed:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert library.seccomp_rule_add(context, ALLOW, number, 0) == 0, name
    assert library.seccomp_load(context) == 0


def _expanded(word):
    if not word.startswith("@"):
        return {word}
    listing = subprocess.run(
        ["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True
    )
    inside = [line.strip() for line in listing.stdout.splitlines() if line.startswith("    ")]
    words = [line for line in inside if line and not line.startswith("#")]
    return {call for each in words for call in _expanded(each)}


def _prctl(option, value):
    if _libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    allowed = allowed_calls(Path(sys.argv[1]))
    deny_write_execute()
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    filter_calls(allowed)
    os.execv(sys.argv[2], sys.argv[2:])
