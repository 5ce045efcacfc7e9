"""
Privileges: the user and group of a daemon that root starts, and the end of every other right.

Capabilities have no Python interface: capset(2) and prctl(2) are called in the C library.
"""

from __future__ import annotations

import ctypes
import grp
import itertools
import os
import pwd
from typing import NamedTuple

from daytimed.errors import NoPermissionError, UsageError

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


class Owner(NamedTuple):
    """The user and group to run as."""

    user: str | None
    """None: stay root."""
    uid: int
    gid: int


def find_owner(user: str | None, group: str | None) -> Owner | None:
    """
    Find a user and a group by their names or numbers.

    Returns:
        None if there is nothing to change.

    Raises:
        UsageError: If this system does not have them.
        NoPermissionError: If only root can become them.
    """
    if user is None and group is None:
        return None
    name, uid, gid = None, os.getuid(), os.getgid()
    if user is not None:
        account = _find_user(user)
        name, uid, gid = account.pw_name, account.pw_uid, account.pw_gid
    if group is not None:
        gid = _find_group(group)
    if os.geteuid() == 0:
        return Owner(name, uid, gid)
    if (uid, gid) != (os.getuid(), os.getgid()):
        raise NoPermissionError("--user and --group: only root can change user or group; start daytimed as root")
    return None


def _find_user(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        pass
    try:
        return pwd.getpwuid(_number(user))
    except KeyError:
        raise UsageError(f"argument --user: this system has no user {user!r}") from None


def _find_group(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        pass
    try:
        return grp.getgrgid(_number(group)).gr_gid
    except KeyError:
        raise UsageError(f"argument --group: this system has no group {group!r}") from None


def _number(text: str) -> int:
    """Return an id; raise KeyError if the text is no id."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**32 - 1):
        raise KeyError(text)
    return int(text)


def become(owner: Owner) -> None:
    """
    Become this user and group, and drop every privilege that they do not have, in a process that root started.

    The supplementary groups become those of the user; without a user, only the group remains. If the user is not root,
    no capability remains, and no program that this process might run can get one.

    Raises:
        NoPermissionError: If the system refuses, as in a container without CAP_SETUID.
    """
    try:
        if owner.user is None:
            os.setgroups([owner.gid])
        else:
            os.initgroups(owner.user, owner.gid)
        os.setresgid(owner.gid, owner.gid, owner.gid)
        if owner.uid != 0:
            _empty_bounding_set()
        os.setresuid(owner.uid, owner.uid, owner.uid)
        if owner.uid != 0:
            _drop_capabilities()
    except OSError as error:
        raise NoPermissionError(
            f"--daemon: cannot become user {owner.uid} and group {owner.gid}: {error.strerror};"
            " root needs the capabilities CAP_SETUID and CAP_SETGID"
        ) from None


def _empty_bounding_set() -> None:
    for capability in itertools.count():
        # EINVAL comes after the last capability of this kernel
        if _library().prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break


def _drop_capabilities() -> None:
    """Empty all sets: securebits can keep them across a change of user, and inheritable ones always remain."""
    library = _library()
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    if library.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
