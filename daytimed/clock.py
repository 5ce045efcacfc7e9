"""
Time sources: zones of the civil calendar, and the state of the kernel clock.

A zone is a function from seconds since 1970-01-01 UTC to a `time.struct_time` with `tm_gmtoff` and `tm_zone` set. Its
result does not depend on earlier calls, so a stepped clock cannot make it wrong.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from daytimed.errors import OUT_OF_RESOURCES

Zone = Callable[[int], time.struct_time]
Identity = tuple[int, ...]

#: The zone of this host, unless TZ is set; localtime(5).
LOCALTIME = "/etc/localtime"

#: Status bits of adjtimex(2), <sys/timex.h>.
STA_INS = 0x0010
STA_DEL = 0x0020
STA_UNSYNC = 0x0040

#: Health 1 of the NIST code promises an error below five seconds; a larger error counts as unknown.
_WORST_KNOWN_ERROR_US = 5_000_000


class KernelClock(NamedTuple):
    """The state of the kernel clock, in the digits of the NIST daytime code."""

    leap: int
    """0 none, 1 a second is inserted at the end of the month, 2 one is deleted."""

    health: int
    """0 synchronised, 1 within five seconds, 3 error unknown."""


UNKNOWN_CLOCK = KernelClock(leap=0, health=3)


class _Timex(ctypes.Structure):
    """The first fields of struct timex, adjtimex(2); padding covers the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def load_zone(name: str, data: bytes | None = None) -> Zone:
    """
    Return a zone by name: `local` (TZ, or /etc/localtime and its changes), `UTC`, or an IANA name.

    Args:
        data: What `read_zone` has returned for this name; without it, the zone is read from the disk.

    Raises:
        ValueError: If the system has no such zone.
    """
    if name == "local":
        # the C library keeps one for the whole process: see read_local_zone
        return time.localtime if "TZ" in os.environ else _follow_local_zone()
    if name == "UTC":
        return _zone_of(UTC)
    from zoneinfo import ZoneInfo  # deferred: it loads Python's build configuration, which is slow

    return _zone_of(ZoneInfo.from_file(io.BytesIO(read_zone(name) if data is None else data), name))


def read_zone(name: str) -> bytes:
    """
    Return the TZif data (RFC 8536) of a zone with an IANA name.

    Raises:
        ValueError: If the system has no such zone.
        OSError: If this host lacks descriptors or memory.
    """
    import importlib.resources
    import zoneinfo

    try:
        # it checks the name and the data; no_cache: a reload must see an updated database
        zoneinfo.ZoneInfo.no_cache(name)
        for folder in zoneinfo.TZPATH:
            with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, name), "rb") as file:
                return file.read()
        return importlib.resources.files("tzdata").joinpath("zoneinfo", name).read_bytes()
    except (OSError, ValueError, LookupError) as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
            raise
        raise ValueError(
            f"{name!r} is not a time zone on this system; "
            "use local, UTC or an IANA name such as Europe/Berlin (package tzdata)"
        ) from None


def read_local_zone() -> None:
    """Make the C library reread TZ and the file it names; tzset(3) alone rereads only when TZ changes."""
    name = os.environ.get("TZ")
    os.environ["TZ"] = "UTC0"
    time.tzset()
    if name is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = name
    time.tzset()


def _follow_local_zone() -> Zone:
    """Return the local zone of the C library, which rereads a changed /etc/localtime within a second."""
    looked_at = -1
    read: Identity = (-1,)

    def civil(seconds: int) -> time.struct_time:
        nonlocal looked_at, read
        # once a second: `nist` asks for the rest of the month in each
        now = int(time.time())
        if now != looked_at:
            looked_at = now
            # not after reading: a change in between is seen by the next look
            found = _identify(LOCALTIME)
            if found != read and _can_open(LOCALTIME):
                read_local_zone()
                read = found
        return time.localtime(seconds)

    return civil


def _identify(path: str) -> Identity:
    """Return what differs between two files, and after a file has changed; empty without a file."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _can_open(path: str) -> bool:
    """Return False while the C library would take a lack of descriptors or memory for a missing file, which is UTC."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return error.errno not in OUT_OF_RESOURCES
    return True


def _zone_of(zone: tzinfo) -> Zone:
    def civil(seconds: int) -> time.struct_time:
        moment = datetime.fromtimestamp(seconds, zone)
        offset = moment.utcoffset() or timedelta(0)
        fields = (*moment.timetuple(), moment.tzname(), offset.days * 86400 + offset.seconds)
        return time.struct_time(fields)

    return civil


def read_kernel_clock() -> KernelClock:
    """
    Read leap second and health from the kernel, adjtimex(2) with no mode set.

    Raises:
        OSError: If this process may not call adjtimex, for example under systemd's ProtectClock=yes.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    timex = _Timex()
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return judge_kernel_clock(timex.status, timex.maxerror)


def judge_kernel_clock(status: int, maxerror_us: int) -> KernelClock:
    """Derive leap and health from the status bits and the maximum error of adjtimex(2)."""
    leap = 1 if status & STA_INS else 2 if status & STA_DEL else 0
    if status & STA_UNSYNC or maxerror_us >= _WORST_KNOWN_ERROR_US:
        return KernelClock(leap, UNKNOWN_CLOCK.health)
    return KernelClock(leap, 0 if maxerror_us < 1_000_000 else 1)


def ask_kernel_clock() -> KernelClock:
    """Return the state of the kernel clock, or UNKNOWN_CLOCK where it cannot be read."""
    try:
        return read_kernel_clock()
    except OSError:
        return UNKNOWN_CLOCK
