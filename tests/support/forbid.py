"""
Make system calls fail as on a kernel without IPv6, or in the sandbox of a service.

seccomp(2) does it, so nothing in Python is replaced. A filter is permanent, so each runs in its own process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

#: System call numbers by machine, and AUDIT_ARCH_* of <linux/audit.h>.
_NUMBERS = {
    "x86_64": {"socket": 41, "adjtimex": 159, "clock_adjtime": 305},
    "aarch64": {"socket": 198, "adjtimex": 171, "clock_adjtime": 266},
}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

#: From <linux/bpf_common.h>: load a word, compare with a constant, return.
_LOAD, _COMPARE, _RETURN = 0x20, 0x15, 0x06
#: Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2


class Call(NamedTuple):
    """A system call that fails; with a first argument, only calls with that argument fail."""

    name: str
    error: int
    first_argument: int | None = None


NO_IPV6 = (Call("socket", errno.EAFNOSUPPORT, 10),)
IPV6_IS_FORBIDDEN = (Call("socket", errno.EACCES, 10),)
NETWORK_IS_FORBIDDEN = (Call("socket", errno.EPERM, 10), Call("socket", errno.EPERM, 2))
NO_CLOCK = (Call("adjtimex", errno.EPERM), Call("clock_adjtime", errno.EPERM))


def forbid(*calls: Call) -> None:
    """Make these calls fail in this process from now on."""
    machine = platform.machine()
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_COMPARE, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _ALLOW)]
    for call in calls:
        check = [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_COMPARE, 0, 1, call.first_argument)]
        body = [*(check if call.first_argument is not None else []), (_RETURN, 0, 0, _FAIL | call.error)]
        program += [(_LOAD, 0, 0, _NUMBER), (_COMPARE, 0, len(body), _NUMBERS[machine][call.name]), *body]  # type: ignore[list-item]
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    filters = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = (ctypes.c_int, *4 * (ctypes.c_ulong,))
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filters))):
        if prctl(*arguments, *(5 - len(arguments)) * (0,)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run_without(constant: str, script: str) -> str:
    """Run a Python script in a process where the calls of a constant above fail; return its output."""
    import pytest  # not at the top: the new process imports this module too

    if platform.machine() not in _NUMBERS:
        pytest.skip(f"the system call numbers of {platform.machine()} are not known")
    folder = str(Path(__file__).parent)
    head = f"import sys; sys.path.insert(0, {folder!r}); import forbid; forbid.forbid(*forbid.{constant})"
    ended = subprocess.run([sys.executable, "-c", f"{head}\n{script}"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout
