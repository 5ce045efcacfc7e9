"""
Byte-exact examples of every format: one table for the tests of both the formats and the parsers.

The civil times come from date(1) of GNU coreutils, not from the code under test.
"""

from __future__ import annotations

from typing import NamedTuple

NS = 1_000_000_000

UTC = "UTC"
NEW_YORK = "America/New_York"
KOLKATA = "Asia/Kolkata"
SAO_PAULO = "America/Sao_Paulo"

#: Instants, in seconds since 1970-01-01 UTC.
DESIGN_LOCAL = 1_795_329_000  # 2026-11-22 12:00:00 in Kolkata
DESIGN_UTC = 1_795_348_800  # 2026-11-22 12:00:00 UTC
SPRING_BEFORE = 1_772_953_199  # 2026-03-08 01:59:59 EST
SPRING_AFTER = 1_772_953_200  # 2026-03-08 03:00:00 EDT
AUTUMN_BEFORE = 1_793_512_799  # 2026-11-01 01:59:59 EDT
AUTUMN_AFTER = 1_793_512_800  # 2026-11-01 01:00:00 EST
YEAR_OLD = 1_798_761_599  # 2026-12-31 23:59:59 UTC
YEAR_NEW = 1_798_761_600  # 2027-01-01 00:00:00 UTC
SINGLE_DIGIT = 1_772_668_800  # 2026-03-05 00:00:00 UTC
WRAP_BEFORE = 2_085_978_495  # 2036-02-07 06:28:15 UTC
WRAP_AFTER = 2_085_978_496  # 2036-02-07 06:28:16 UTC
LAST_32_BIT = 2_147_483_647  # 2038-01-19 03:14:07 UTC
FIRST_33_BIT = 2_147_483_648  # 2038-01-19 03:14:08 UTC
BEYOND_UNSIGNED = 4_294_967_296  # 2106-02-07 06:28:16 UTC


class Row(NamedTuple):
    """One reply."""

    format: str
    zone: str
    instant_ns: int
    reply: bytes


def _rows(format_name: str, *rows: tuple[str, int, bytes]) -> tuple[Row, ...]:
    return tuple(Row(format_name, zone, seconds * NS, reply) for zone, seconds, reply in rows)


SENTENCE = (
    Row("sentence", KOLKATA, DESIGN_LOCAL * NS + 123_456_789,
        b"The Date Time is: 2026-11-22 12:00:00.123456789 +0530 IST\r\n"),
    Row("sentence", KOLKATA, DESIGN_LOCAL * NS, b"The Date Time is: 2026-11-22 12:00:00 +0530 IST\r\n"),
    Row("sentence", UTC, DESIGN_UTC * NS, b"The Date Time is: 2026-11-22 12:00:00 +0000 UTC\r\n"),
    Row("sentence", UTC, DESIGN_UTC * NS + 1, b"The Date Time is: 2026-11-22 12:00:00.000000001 +0000 UTC\r\n"),
    Row("sentence", UTC, DESIGN_UTC * NS + 500_000_000, b"The Date Time is: 2026-11-22 12:00:00.5 +0000 UTC\r\n"),
    Row("sentence", UTC, DESIGN_UTC * NS + 10_000_000, b"The Date Time is: 2026-11-22 12:00:00.01 +0000 UTC\r\n"),
    Row("sentence", UTC, DESIGN_UTC * NS + 123_456_000,
        b"The Date Time is: 2026-11-22 12:00:00.123456 +0000 UTC\r\n"),
    Row("sentence", NEW_YORK, SPRING_BEFORE * NS + 999_999_999,
        b"The Date Time is: 2026-03-08 01:59:59.999999999 -0500 EST\r\n"),
    Row("sentence", NEW_YORK, SPRING_AFTER * NS, b"The Date Time is: 2026-03-08 03:00:00 -0400 EDT\r\n"),
    Row("sentence", NEW_YORK, AUTUMN_BEFORE * NS + 999_999_990,
        b"The Date Time is: 2026-11-01 01:59:59.99999999 -0400 EDT\r\n"),
    Row("sentence", NEW_YORK, AUTUMN_AFTER * NS, b"The Date Time is: 2026-11-01 01:00:00 -0500 EST\r\n"),
    Row("sentence", SAO_PAULO, DESIGN_UTC * NS, b"The Date Time is: 2026-11-22 09:00:00 -0300 -03\r\n"),
    Row("sentence", UTC, YEAR_OLD * NS, b"The Date Time is: 2026-12-31 23:59:59 +0000 UTC\r\n"),
    Row("sentence", UTC, YEAR_NEW * NS, b"The Date Time is: 2027-01-01 00:00:00 +0000 UTC\r\n"),
    Row("sentence", UTC, FIRST_33_BIT * NS, b"The Date Time is: 2038-01-19 03:14:08 +0000 UTC\r\n"),
    Row("sentence", UTC, 0, b"The Date Time is: 1970-01-01 00:00:00 +0000 UTC\r\n"),
)  # fmt: skip

RFC867 = _rows(
    "rfc867",
    (UTC, DESIGN_UTC, b"Sunday, November 22, 2026 12:00:00-UTC\r\n"),
    (UTC, SINGLE_DIGIT, b"Thursday, March 5, 2026 00:00:00-UTC\r\n"),
    (NEW_YORK, SPRING_BEFORE, b"Sunday, March 8, 2026 01:59:59-EST\r\n"),
    (NEW_YORK, SPRING_AFTER, b"Sunday, March 8, 2026 03:00:00-EDT\r\n"),
    (NEW_YORK, AUTUMN_BEFORE, b"Sunday, November 1, 2026 01:59:59-EDT\r\n"),
    (NEW_YORK, AUTUMN_AFTER, b"Sunday, November 1, 2026 01:00:00-EST\r\n"),
    (KOLKATA, YEAR_OLD, b"Friday, January 1, 2027 05:29:59-IST\r\n"),
    (SAO_PAULO, YEAR_NEW, b"Thursday, December 31, 2026 21:00:00--03\r\n"),
    (UTC, FIRST_33_BIT, b"Tuesday, January 19, 2038 03:14:08-UTC\r\n"),
)

SMTP = _rows(
    "smtp",
    (UTC, DESIGN_UTC, b"22 NOV 26 12:00:00 UTC\r\n"),
    (UTC, SINGLE_DIGIT, b"05 MAR 26 00:00:00 UTC\r\n"),
    (NEW_YORK, SPRING_BEFORE, b"08 MAR 26 01:59:59 EST\r\n"),
    (NEW_YORK, SPRING_AFTER, b"08 MAR 26 03:00:00 EDT\r\n"),
    (NEW_YORK, AUTUMN_BEFORE, b"01 NOV 26 01:59:59 EDT\r\n"),
    (NEW_YORK, AUTUMN_AFTER, b"01 NOV 26 01:00:00 EST\r\n"),
    (KOLKATA, YEAR_OLD, b"01 JAN 27 05:29:59 IST\r\n"),
    (SAO_PAULO, YEAR_NEW, b"31 DEC 26 21:00:00 -03\r\n"),
    (UTC, BEYOND_UNSIGNED, b"07 FEB 06 06:28:16 UTC\r\n"),
)

CTIME = _rows(
    "ctime",
    (UTC, DESIGN_UTC, b"Sun Nov 22 12:00:00 2026\r\n"),
    (UTC, SINGLE_DIGIT, b"Thu Mar  5 00:00:00 2026\r\n"),
    (NEW_YORK, SPRING_BEFORE, b"Sun Mar  8 01:59:59 2026\r\n"),
    (NEW_YORK, SPRING_AFTER, b"Sun Mar  8 03:00:00 2026\r\n"),
    (NEW_YORK, AUTUMN_BEFORE, b"Sun Nov  1 01:59:59 2026\r\n"),
    (NEW_YORK, AUTUMN_AFTER, b"Sun Nov  1 01:00:00 2026\r\n"),
    (KOLKATA, YEAR_OLD, b"Fri Jan  1 05:29:59 2027\r\n"),
    (SAO_PAULO, YEAR_NEW, b"Thu Dec 31 21:00:00 2026\r\n"),
    (UTC, LAST_32_BIT, b"Tue Jan 19 03:14:07 2038\r\n"),
    (UTC, FIRST_33_BIT, b"Tue Jan 19 03:14:08 2038\r\n"),
)

XINETD = _rows(
    "xinetd",
    (UTC, DESIGN_UTC, b"22 NOV 2026 12:00:00 UTC\r\n"),
    (UTC, SINGLE_DIGIT, b"05 MAR 2026 00:00:00 UTC\r\n"),
    (NEW_YORK, SPRING_BEFORE, b"08 MAR 2026 01:59:59 EST\r\n"),
    (NEW_YORK, SPRING_AFTER, b"08 MAR 2026 03:00:00 EDT\r\n"),
    (NEW_YORK, AUTUMN_BEFORE, b"01 NOV 2026 01:59:59 EDT\r\n"),
    (NEW_YORK, AUTUMN_AFTER, b"01 NOV 2026 01:00:00 EST\r\n"),
    (KOLKATA, YEAR_OLD, b"01 JAN 2027 05:29:59 IST\r\n"),
    (SAO_PAULO, YEAR_NEW, b"31 DEC 2026 21:00:00 -03\r\n"),
    (UTC, BEYOND_UNSIGNED, b"07 FEB 2106 06:28:16 UTC\r\n"),
)

ISO8601 = _rows(
    "iso8601",
    (KOLKATA, DESIGN_LOCAL, b"2026-11-22T12:00:00+05:30\r\n"),
    (UTC, DESIGN_UTC, b"2026-11-22T12:00:00+00:00\r\n"),
    (UTC, SINGLE_DIGIT, b"2026-03-05T00:00:00+00:00\r\n"),
    (NEW_YORK, SPRING_BEFORE, b"2026-03-08T01:59:59-05:00\r\n"),
    (NEW_YORK, SPRING_AFTER, b"2026-03-08T03:00:00-04:00\r\n"),
    (NEW_YORK, AUTUMN_BEFORE, b"2026-11-01T01:59:59-04:00\r\n"),
    (NEW_YORK, AUTUMN_AFTER, b"2026-11-01T01:00:00-05:00\r\n"),
    (KOLKATA, YEAR_OLD, b"2027-01-01T05:29:59+05:30\r\n"),
    (SAO_PAULO, YEAR_NEW, b"2026-12-31T21:00:00-03:00\r\n"),
    (UTC, FIRST_33_BIT, b"2038-01-19T03:14:08+00:00\r\n"),
)

UNIX = _rows(
    "unix",
    (UTC, DESIGN_UTC, b"1795348800\r\n"),
    (KOLKATA, DESIGN_UTC, b"1795348800\r\n"),
    (UTC, 0, b"0\r\n"),
    (UTC, FIRST_33_BIT, b"2147483648\r\n"),
    (UTC, BEYOND_UNSIGNED, b"4294967296\r\n"),
)

RFC868 = _rows(
    "rfc868",
    (UTC, DESIGN_UTC, b"\xee\xad\x57\xc0"),
    (KOLKATA, DESIGN_UTC, b"\xee\xad\x57\xc0"),
    (UTC, 0, b"\x83\xaa\x7e\x80"),
    (UTC, WRAP_BEFORE, b"\xff\xff\xff\xff"),
    (UTC, WRAP_AFTER, b"\x00\x00\x00\x00"),
    (UTC, FIRST_33_BIT, b"\x03\xaa\x7e\x80"),
)

#: With a synchronised clock and no announced leap second.
NIST = _rows(
    "nist",
    (UTC, DESIGN_UTC, b"\n61366 26-11-22 12:00:00 00 0 0 0.0 UTC(daytimed) * \n"),
    (NEW_YORK, DESIGN_UTC, b"\n61366 26-11-22 12:00:00 00 0 0 0.0 UTC(daytimed) * \n"),
    (KOLKATA, YEAR_OLD, b"\n61405 26-12-31 23:59:59 00 0 0 0.0 UTC(daytimed) * \n"),
    (UTC, YEAR_NEW, b"\n61406 27-01-01 00:00:00 00 0 0 0.0 UTC(daytimed) * \n"),
    (NEW_YORK, SINGLE_DIGIT, b"\n61104 26-03-05 00:00:00 55 0 0 0.0 UTC(daytimed) * \n"),
    (NEW_YORK, SPRING_BEFORE, b"\n61107 26-03-08 06:59:59 51 0 0 0.0 UTC(daytimed) * \n"),
    (NEW_YORK, SPRING_AFTER, b"\n61107 26-03-08 07:00:00 50 0 0 0.0 UTC(daytimed) * \n"),
    (NEW_YORK, AUTUMN_BEFORE, b"\n61345 26-11-01 05:59:59 01 0 0 0.0 UTC(daytimed) * \n"),
    (NEW_YORK, AUTUMN_AFTER, b"\n61345 26-11-01 06:00:00 00 0 0 0.0 UTC(daytimed) * \n"),
    (UTC, BEYOND_UNSIGNED, b"\n90297 06-02-07 06:28:16 00 0 0 0.0 UTC(daytimed) * \n"),
)

STRFTIME = (
    *_rows("strftime:%Y-%m-%d %H:%M:%S", (KOLKATA, DESIGN_LOCAL, b"2026-11-22 12:00:00\r\n")),
    *_rows("strftime:%a %A %b %h %B", (UTC, DESIGN_UTC, b"Sun Sunday Nov Nov November\r\n")),
    *_rows("strftime:%^a %^A %^b %^B", (UTC, DESIGN_UTC, b"SUN SUNDAY NOV NOVEMBER\r\n")),
    *_rows("strftime:%Ea %OB %^EA", (UTC, DESIGN_UTC, b"Sun November SUNDAY\r\n")),
    *_rows("strftime:%-s|%_12s", (KOLKATA, DESIGN_UTC, b"1795348800|  1795348800\r\n")),
    *_rows("strftime:%-A|%_b|%12B|%03a", (UTC, DESIGN_UTC, b"Sunday|Nov|    November|Sun\r\n")),
    *_rows("strftime:%c|%x|%X|%r", (UTC, SINGLE_DIGIT, b"Thu Mar  5 00:00:00 2026|03/05/26|00:00:00|12:00:00 AM\r\n")),
    *_rows("strftime:%Ec|%Ex|%EX", (UTC, SINGLE_DIGIT, b"Thu Mar  5 00:00:00 2026|03/05/26|00:00:00\r\n")),
    *_rows("strftime:%I:%M %p %P", (KOLKATA, DESIGN_LOCAL, b"12:00 PM pm\r\n"), (UTC, YEAR_NEW, b"12:00 AM am\r\n")),
    *_rows("strftime:%r", (UTC, YEAR_OLD, b"11:59:59 PM\r\n"), (UTC, DESIGN_UTC, b"12:00:00 PM\r\n")),
    *_rows("strftime:%z %Z", (KOLKATA, DESIGN_UTC, b"+0530 IST\r\n"), (NEW_YORK, SPRING_AFTER, b"-0400 EDT\r\n")),
    *_rows("strftime:%z %Z %^Z", (SAO_PAULO, DESIGN_UTC, b"-0300 -03 -03\r\n")),
    *_rows("strftime:%s", (KOLKATA, DESIGN_UTC, b"1795348800\r\n"), (UTC, FIRST_33_BIT, b"2147483648\r\n")),
    *_rows("strftime:100%% %%a %%%a", (UTC, DESIGN_UTC, b"100% %a %Sun\r\n")),
    *_rows("strftime:%e %j %U %V %G %u %w", (UTC, SINGLE_DIGIT, b" 5 064 09 10 2026 4 4\r\n")),
    *_rows("strftime:%D %F %R %T %y %C", (UTC, DESIGN_UTC, b"11/22/26 2026-11-22 12:00 12:00:00 26 20\r\n")),
    *_rows("strftime:plain", (UTC, DESIGN_UTC, b"plain\r\n")),
    *_rows("strftime:\u6642 %H", (UTC, DESIGN_UTC, "\u6642 12\r\n".encode())),
    *_rows("strftime:%H\n%M", (UTC, DESIGN_UTC, b"12\n00\r\n")),
)

ROWS: tuple[Row, ...] = (
    *SENTENCE, *RFC867, *SMTP, *CTIME, *XINETD, *ISO8601, *UNIX, *RFC868, *NIST, *STRFTIME,
)  # fmt: skip
