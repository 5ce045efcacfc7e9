"""The configuration: valid and invalid values, precedence, and printing."""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_help import OS_TEXT, unprivileged

from daytimed import addresses, formats
from daytimed.addresses import Address
from daytimed.config import checks, load, settings, source
from daytimed.config.settings import (
    DEFAULT_ADDRESS,
    LISTEN_VARIABLE,
    MOST_WORKERS,
    SECTIONS,
    SETTINGS,
    VARIABLES,
    AccessConfig,
    Config,
    ListenerConfig,
    LogConfig,
)
from daytimed.config.toml import commented_example, to_toml, to_toml_value
from daytimed.counters import SLOTS
from daytimed.errors import ConfigError, NoPermissionError
from daytimed.networks import NetworkSet

DEFAULTS = Config(
    workers=0,
    timezone="local",
    format="sentence",
    listeners=(ListenerConfig("daytime", Address("tcp", "", 6000), "sentence", 0, "local"),),
    access=AccessConfig(allow=(), deny=(), rate=0.0, burst=20),
    log=LogConfig(level="info", format="auto", clients="all", client_rate=20.0, client_burst=200, quiet=()),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daytimed.toml"


def load_text(
    path: Path, text: str | bytes = "", environ: dict[str, str] | None = None, *listen: Address, **options: Any
) -> Config:
    # an empty file is an error
    path.write_bytes(text if isinstance(text, bytes) else (text or "# nothing").encode())
    return load.load(str(path), environ or {}, options, list(listen))


def load_file(content: bytes) -> Config:
    """Load a temporary file with this content."""
    descriptor = os.memfd_create("daytimed.toml")
    try:
        os.write(descriptor, content)
        return load.load(f"/dev/fd/{descriptor}", {}, {}, [])
    finally:
        os.close(descriptor)


def problems(path: Path, text: str | bytes = "", environ: dict[str, str] | None = None, *listen: Address) -> list[str]:
    """Return the errors, each without the name of the file before it."""
    with pytest.raises(ConfigError) as caught:
        load_text(path, text, environ, *listen)
    return [each.removeprefix(f"{path}: ") for each in caught.value.problems]


# -- valid files -----------------------------------------------------------------------------------------------------


def test_defaults(path: Path) -> None:
    """A file without a key gives the defaults of the design: one listener on every address, port 6000."""
    assert DEFAULTS == load_text(path)


def test_default_file_need_not_exist() -> None:
    """Without the default file, the daemon uses its defaults."""
    if Path(load.DEFAULT_PATH).exists():
        pytest.skip(f"{load.DEFAULT_PATH} exists")
    assert DEFAULTS == load.load(None, {}, {}, [])


def test_every_key(path: Path) -> None:
    """Each key of the file sets its own attribute, and no other."""
    text = """
        workers = 3
        timezone = "UTC"
        format = "ctime"
        [[listener]]
        name = "one"
        address = "udp4://127.0.0.1:37"
        format = "rfc868"
        workers = 1
        timezone = "Asia/Kolkata"
        [[listener]]
        address = 13
        [access]
        allow = ["192.0.2.0/24", "2001:db8::/32"]
        deny = ["192.0.2.1", "::ffff:10.0.0.0/104"]
        rate = 2.5
        burst = 7
        [log]
        level = "warning"
        format = "json"
        clients = "dropped"
        client_rate = 5
        client_burst = 6
        quiet = ["::1"]
    """
    network = ipaddress.ip_network
    expected = Config(
        workers=3,
        timezone="UTC",
        format="ctime",
        listeners=(
            ListenerConfig("one", Address("udp4", "127.0.0.1", 37), "rfc868", 1, "Asia/Kolkata"),
            ListenerConfig("daytime-2", Address("tcp", "", 13), "ctime", 3, "UTC"),
        ),
        access=AccessConfig(
            allow=(network("192.0.2.0/24"), network("2001:db8::/32")),
            deny=(network("192.0.2.1/32"), network("10.0.0.0/8")),
            rate=2.5,
            burst=7,
        ),
        log=LogConfig("warning", "json", "dropped", 5.0, 6, (network("::1/128"),)),
    )
    assert expected == load_text(path, text)


def test_defaults_of_a_passed_socket(path: Path) -> None:
    """A passed socket without a listener of its name keeps that name and gets the daemon's settings."""
    loaded = load_text(path, 'workers = 2\nformat = "ctime"\ntimezone = "UTC"')
    assert ListenerConfig("mine", DEFAULT_ADDRESS, "ctime", 2, "UTC") == loaded.defaults("mine")


def test_loaded_configuration_never_changes(path: Path) -> None:
    """A loaded configuration is immutable."""
    loaded = load_text(path)
    for part, name in (
        (loaded, "workers"),
        (loaded.log, "level"),
        (loaded.access, "rate"),
        (loaded.listeners[0], "name"),
    ):
        with pytest.raises(AttributeError):
            setattr(part, name, None)


def test_rows_of_the_table_are_whole() -> None:
    """Every setting has a known section, a help text, and a default that its own check accepts."""
    assert {"", "listener", "access", "log"} == {each.section for each in SETTINGS}
    assert [] == [each.path for each in SETTINGS if not each.help or each.help.endswith(".")]
    for each in SETTINGS:
        if each.default is not None:
            each.check(each.default)


def test_flags_and_variables_are_those_of_the_design() -> None:
    """The names of flags and variables are an interface."""
    flags = {each.path: each.flags for each in SETTINGS if each.flags}
    assert flags == {
        "workers": ("-w", "--workers"),
        "timezone": ("-z", "--timezone"),
        "format": ("-f", "--format"),
        "log.level": ("--log-level",),
        "log.format": ("--log-format",),
    }
    expected = "WORKERS TIMEZONE FORMAT ACCESS_ALLOW ACCESS_DENY ACCESS_RATE ACCESS_BURST LOG_LEVEL LOG_FORMAT"
    expected += " LOG_CLIENTS LOG_CLIENT_RATE LOG_CLIENT_BURST LOG_QUIET"
    assert [f"DAYTIMED_{each}" for each in expected.split()] == list(VARIABLES)


def test_counters_have_room_for_the_most_workers() -> None:
    """There is a slot for each worker of two generations with the most workers, and for the master."""
    assert SLOTS >= 2 * MOST_WORKERS + 1


# -- invalid files ---------------------------------------------------------------------------------------------------

NO_FORMAT = "is not a format; use one of sentence rfc867 smtp ctime xinetd iso8601 unix rfc868 nist or strftime:PATTERN"
NO_ZONE = "is not a time zone on this system; use local, UTC or an IANA name such as Europe/Berlin (package tzdata)"
NO_NETWORK = "is not a network; write an address, or address/prefix with no bit set after the prefix"
NO_NETWORKS = 'is not a list of networks like ["192.0.2.0/24", "2001:db8::/32"]'
NEITHER = "is neither 0 nor a number from 0.001 to 1000000"
ONE_LISTENER = '[[listener]]\naddress = "1"\n'

#: For each key, some values that are refused, and the error of each.
FAULTS: dict[str, list[tuple[str, str]]] = {
    "workers": [
        ("-1", "-1 is not a whole number from 0 to 1024"),
        ("1025", "1025 is not a whole number from 0 to 1024"),
        ("1.0", "1.0 is not a whole number from 0 to 1024"),
        ("true", "True is not a whole number from 0 to 1024"),
        ('"2"', '"2" is not a whole number from 0 to 1024'),
        ("{ a = 1 }", "{'a': 1} is not a whole number from 0 to 1024"),
    ],
    "timezone": [
        ('"Europe/Berln"', f"'Europe/Berln' {NO_ZONE}"),
        ('""', f"'' {NO_ZONE}"),
        ("1", "1 is not a string in quotes"),
    ],
    "format": [
        ('"nost"', f"'nost' {NO_FORMAT}"),
        ('"strftime:"', "strftime: has no pattern; write, for example, strftime:%H:%M:%S"),
        ("[]", "[] is not a string in quotes"),
    ],
    "listener.name": [
        ('""', '"" is not a name; use up to 255 printable ASCII characters except blank and colon'),
        ('"a b"', '"a b" is not a name; use up to 255 printable ASCII characters except blank and colon'),
        ('"a:b"', '"a:b" is not a name; use up to 255 printable ASCII characters except blank and colon'),
        ('"\u00e9"', '"\u00e9" is not a name; use up to 255 printable ASCII characters except blank and colon'),
        ("1", "1 is not a string in quotes"),
    ],
    "listener.address": [
        ('"localhost"', "'localhost' has no port; write HOST:PORT, for example localhost:6000"),
        ("65536", "'65536' has the invalid port 65536; use 0 to 65535"),
        ("true", "True is not a string in quotes"),
        ("-1", "'-1' has no port; write HOST:PORT, for example -1:6000"),
        (
            '"udp:6000"',
            "'udp:6000' has no // after the scheme; did you mean udp://:6000? For a host named udp, write "
            "tcp://udp:6000",
        ),
        (
            '"[::ffff:127.0.0.1]:1"',
            "'[::ffff:127.0.0.1]:1' is an IPv4 address in IPv6 notation; write tcp://127.0.0.1:1",
        ),
        (
            '"tcp6://[::ffff:7f00:1]:1"',
            "'tcp6://[::ffff:7f00:1]:1' is an IPv4 address in IPv6 notation; write tcp://127.0.0.1:1",
        ),
        (
            '"udp://[::ffff:0.0.0.0]:1"',
            "'udp://[::ffff:0.0.0.0]:1' is an IPv4 address in IPv6 notation; write udp://0.0.0.0:1",
        ),
        ('"*:13"', "'*:13' names no host; for all addresses, write tcp://:13"),
    ],
    "listener.format": [('"nost"', f"'nost' {NO_FORMAT}")],
    "listener.workers": [("-1", "-1 is not a whole number from 0 to 1024")],
    "listener.timezone": [('"Mars"', f"'Mars' {NO_ZONE}")],
    "access.allow": [
        ('"192.0.2.0/24"', f'"192.0.2.0/24" {NO_NETWORKS}'),
        ('["192.0.2.1/24"]', f'"192.0.2.1/24" {NO_NETWORK}'),
        ('["example.org"]', f'"example.org" {NO_NETWORK}'),
        ("[1]", f"1 {NO_NETWORK}"),
    ],
    "access.deny": [
        (
            '["fe80::%eth0/64"]',
            '"fe80::%eth0/64" names an interface; a network applies to all of them, write it without %',
        ),
        ("[[]]", f"[] {NO_NETWORK}"),
        ("false", f"False {NO_NETWORKS}"),
    ],
    "access.rate": [
        ("-0.5", "-0.5 is neither 0 nor a number from 0.001 to 1000000"),
        ("1000001", "1000001 is neither 0 nor a number from 0.001 to 1000000"),
        ("nan", "nan is neither 0 nor a number from 0.001 to 1000000"),
        ("inf", "inf is neither 0 nor a number from 0.001 to 1000000"),
        ("true", "True is neither 0 nor a number from 0.001 to 1000000"),
        ('"1"', '"1" is neither 0 nor a number from 0.001 to 1000000'),
    ],
    "access.burst": [
        ("0", "0 is not a whole number from 1 to 1000000"),
        ("1000001", "1000001 is not a whole number from 1 to 1000000"),
    ],
    "log.level": [
        ('"loud"', '"loud" is not one of debug, info, warning, error, critical'),
        ('"warn"', '"warn" is not one of debug, info, warning, error, critical; did you mean warning?'),
        ("1", "1 is not one of debug, info, warning, error, critical"),
        ("[]", "[] is not one of debug, info, warning, error, critical"),
    ],
    "log.format": [('"jsn"', '"jsn" is not one of auto, console, json, journal; did you mean json?')],
    "log.clients": [('"drop"', '"drop" is not one of all, dropped, none; did you mean dropped?')],
    "log.client_rate": [("-1", "-1 is neither 0 nor a number from 0.001 to 1000000")],
    "log.client_burst": [("0", "0 is not a whole number from 1 to 1000000")],
    "log.quiet": [('["::1/64"]', f'"::1/64" {NO_NETWORK}')],
}


def document(key: str, value: str) -> tuple[str, str]:
    """Return a file that sets one key, and the path of that key."""
    section, _, name = key.rpartition(".")
    if section == "listener":
        other = "" if name == "address" else 'address = "1"\n'
        return f"[[listener]]\n{other}{name} = {value}\n", f"listener[0].{name}"
    return (f"[{section}]\n" if section else "") + f"{name} = {value}\n", key


def test_faults_of_every_key_are_known_here() -> None:
    """Every key has a test of its invalid values."""
    assert [each.path for each in SETTINGS] == list(FAULTS)


@pytest.mark.parametrize(("key", "value", "expected"), [(key, *each) for key in FAULTS for each in FAULTS[key]])
def test_refused_value(path: Path, key: str, value: str, expected: str) -> None:
    """An invalid value causes one error, a sentence after the path of its key."""
    text, place = document(key, value)
    assert [f"{place}: {expected}"] == problems(path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("worker = 2", "worker: unknown key; did you mean workers?"),
        ("xyzzy = 2", "xyzzy: unknown key"),
        ("listeners = 2", "listeners: unknown key; did you mean listener?"),
        ("[acces]", "acces: unknown section; did you mean [access]?"),
        ("[ACCESS]", "ACCESS: unknown section; did you mean [access]?"),
        ("[[listeners]]\naddress = 1", "listeners: unknown section; did you mean [[listener]]?"),
        ("[xyz]", "xyz: unknown section; the sections are [[listener]], [access], [log]"),
        ("Workers = 1", "Workers: unknown key; did you mean workers?"),
        ("port = 1", "port: unknown key; did you mean address, which belongs under [[listener]]?"),
        ("log_level = 1", "log_level: unknown key; did you mean level, which belongs under [log]?"),
        ("[log]\nalow = []", "log.alow: unknown key; did you mean allow, which belongs under [access]?"),
        ("[log]\nlevl = 1", "log.levl: unknown key; did you mean level?"),
        ("[access]\nqqq = 1", "access.qqq: unknown key"),
        (ONE_LISTENER + "adress = 1", "listener[0].adress: unknown key; did you mean address?"),
        (ONE_LISTENER * 2 + "qqq = 1", "listener[1].qqq: unknown key"),
    ],
)
def test_unknown_keys_are_refused(path: Path, text: str, expected: str) -> None:
    """An unknown key is an error, which names the known key that looks like it."""
    found = problems(path, text)
    assert expected in found
    assert 1 == len([each for each in found if "unknown" in each])


def test_key_of_another_section(path: Path) -> None:
    """For a key in a section that does not have it, the error states where the key belongs."""
    headers = {"": "", "listener": "[[listener]]", "access": "[access]", "log": "[log]"}
    places = {name: f"under {header}" if name else "above the first section" for name, header in headers.items()}
    for key in {each.key for each in SETTINGS}:
        having = [name for name, keys in SECTIONS.items() if key in keys]
        for name in SECTIONS.keys() - having:
            place = {"": "", "listener": "listener[0]."}.get(name, f"{name}.")
            expected = f"{place}{key}: unknown key here; it belongs {' or '.join(places[each] for each in having)}"
            assert expected in problems(path, f"{headers[name]}\n{key} = 1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[log]\nformat = "rfc867"',
            'log.format: "rfc867" is not one of auto, console, json, journal; did you mean the format above the first'
            " section?",
        ),
        ('format = "json"', f"format: 'json' {NO_FORMAT}; did you mean the format under [log]?"),
        (
            '[[listener]]\naddress = 1\nformat = "json"',
            f"listener[0].format: 'json' {NO_FORMAT}; did you mean the format under [log]?",
        ),
        (
            "[[listener]]\naddress = 1\nlog.level = 1",
            "listener[0].log: unknown key here; write [log] on a line of its own",
        ),
    ],
)
def test_value_of_another_section(path: Path, text: str, expected: str) -> None:
    """For a value that the key of that name in another section takes, the error names that section."""
    assert [expected] == problems(path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("access = 1", "access: 1 is not a table; write [access] with its keys below"),
        ("[[log]]", "log: [{}] is not a table; write [log] with its keys below"),
        ("listener = 1", "listener: 1 is not an array of tables; write [[listener]]"),
        ("[listener]\nname = 'x'", "listener: {'name': 'x'} is not an array of tables; write [[listener]]"),
        ("listener = [1]", "listener: [1] is not an array of tables; write [[listener]]"),
        ("[workers]\na = 1", "workers: {'a': 1} is not a whole number from 0 to 1024"),
        (f'timezone = ["{"x" * 100}"]', f"timezone: ['{'x' * 55}... is not a string in quotes"),
    ],
)
def test_wrong_shapes(path: Path, text: str, expected: str) -> None:
    """The error for a section of the wrong kind says what to write instead, and cuts a long value."""
    assert [expected] == problems(path, text)


def test_all_networks_with_faults(path: Path) -> None:
    """The error for a list names each invalid network."""
    expected = [f'access.allow: "x" {NO_NETWORK}; 1 {NO_NETWORK}']
    assert expected == problems(path, '[access]\nallow = ["x", "::1", 1]')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"" = 1', '"": unknown key'),
        ('"a\\u001bb" = 1', '"a\\x1bb": unknown key'),
        ('[log]\n"" = 1', 'log."": unknown key'),
        (f'"{"x" * 100}" = 1', f'"{"x" * 56}...: unknown key'),
        (
            '[log]\nlevel = "a\\u001b[2J\\n"',
            'log.level: "a\\x1b[2J\\n" is not one of debug, info, warning, error, critical',
        ),
    ],
)
def test_faults_are_safe_to_show(path: Path, text: str, expected: str) -> None:
    """The error for any key or value is one line without control characters."""
    assert [expected] == problems(path, text)


def test_all_faults_at_once(path: Path) -> None:
    """One run reports every error of file and environment, in their order."""
    text = """
        workers = -1
        colour = "red"
        [[listener]]
        address = "nowhere"
        format = "nost"
        [access]
        rate = "fast"
        allow = ["x"]
        [log]
        level = "loud"
    """
    expected = [
        "workers: -1 is not a whole number from 0 to 1024",
        "colour: unknown key",
        "listener[0].address: 'nowhere' has no port; write HOST:PORT, for example nowhere:6000",
        f"listener[0].format: 'nost' {NO_FORMAT}",
        'access.rate: "fast" is neither 0 nor a number from 0.001 to 1000000',
        f'access.allow: "x" {NO_NETWORK}',
        'log.level: "loud" is not one of debug, info, warning, error, critical',
        'DAYTIMED_ACCESS_BURST: "many" is not a whole number from 1 to 1000000',
    ]
    assert expected == problems(path, text, {"DAYTIMED_ACCESS_BURST": "many"})


def test_message_of_all_faults(path: Path) -> None:
    """The text of the exception has one line for each error, with the file's path before it."""
    with pytest.raises(ConfigError) as caught:
        load_text(path, "a = 1\nb = 2")
    assert f"{path}: a: unknown key\n{path}: b: unknown key" == str(caught.value)
    assert 78 == caught.value.exit_code


def test_listeners_with_faults_are_no_duplicates(path: Path) -> None:
    """Two listeners without valid addresses cause no errors about duplicates: no default stands in."""
    expected = [f"listener[{number}].address: True is not a string in quotes" for number in (0, 1)]
    assert expected == problems(path, "[[listener]]\naddress = true\n" * 2)


def test_listeners_without_address(path: Path) -> None:
    """A listener for a passed socket has no address, which no default replaces, and which is no duplicate."""
    loaded = load_text(path, '[[listener]]\nname = "a"\n[[listener]]\nname = "b"\nformat = "nist"\n')
    expected = (
        ListenerConfig("a", None, "sentence", 0, "local"),
        ListenerConfig("b", None, "nist", 0, "local"),
    )
    assert expected == loaded.listeners
    assert "address" not in to_toml(loaded)
    assert loaded == load_file(to_toml(loaded).encode())


def test_listener_with_a_faulty_name_is_no_duplicate(path: Path) -> None:
    """A refused name is not replaced by the default one, which another listener may have."""
    text = '[[listener]]\nname = "a b"\naddress = 1\n[[listener]]\nname = "daytime"\naddress = 2'
    expected = [
        'listener[0].name: "a b" is not a name; use up to 255 printable ASCII characters except blank and colon'
    ]
    assert expected == problems(path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[[listener]]\naddress = ":1"\n[[listener]]\naddress = "tcp://:1"',
            ["listener[1].address: tcp://:1 is also the address of listener[0]"],
        ),
        (
            '[[listener]]\naddress = "unix:///a"\n[[listener]]\naddress = "unix:///a"',
            ["listener[1].address: unix:///a is also the address of listener[0]"],
        ),
        (
            '[[listener]]\naddress = 1\nname = "x"\n[[listener]]\naddress = 2\nname = "x"',
            ['listener[1].name: "x" is also the name of listener[0]'],
        ),
        (
            '[[listener]]\naddress = 1\nname = "daytime-2"\n[[listener]]\naddress = 2',
            ['listener[1].name: "daytime-2" is also the name of listener[0]'],
        ),
        (
            "[[listener]]\naddress = 1\n" * 3,
            [
                "listener[1].address: tcp://:1 is also the address of listener[0]",
                "listener[2].address: tcp://:1 is also the address of listener[0]",
            ],
        ),
    ],
)
def test_duplicates_are_refused(path: Path, text: str, expected: list[str]) -> None:
    """Two listeners cannot have the same address or the same name."""
    assert expected == problems(path, text)


def test_overlapping_addresses_are_refused(path: Path) -> None:
    """Two listeners that cannot both be bound are an error of the file, not of the program that has the port."""
    text = '[[listener]]\naddress = 1\n[[listener]]\naddress = "127.0.0.1:1"\n[[listener]]\naddress = "[::1]:2"\n'
    expected = ["listener[1].address: tcp://127.0.0.1:1 overlaps tcp://:1 of listener[0]"]
    assert expected == problems(path, text)


def test_any_free_port_is_no_duplicate(path: Path) -> None:
    """Port 0 means a new port for each listener."""
    loaded = load_text(path, "[[listener]]\naddress = 0\n[[listener]]\naddress = 0")
    assert ["daytime", "daytime-2"] == [each.name for each in loaded.listeners]


def test_most_workers(path: Path) -> None:
    """All listeners together have at most MOST_WORKERS workers; 0, one for each CPU, counts as one."""
    text = f"[[listener]]\naddress = 1\nworkers = {MOST_WORKERS - 1}\n[[listener]]\naddress = 2\n"
    assert [MOST_WORKERS - 1, 0] == [each.workers for each in load_text(path, text).listeners]
    expected = [f"workers: more than {MOST_WORKERS} in all listeners together; lower them"]
    assert expected == problems(path, text + "workers = 2")


# -- the file itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n \t\r\n", b"\0" * 4096, b"\n\0\n"], ids=ascii)
def test_empty(path: Path, content: bytes) -> None:
    """A file without content is no configuration: it is being written, or its content was lost."""
    expected = (
        "it is empty: it is being written, or its content was lost; restore it, or write a comment in it to run with"
        " the defaults"
    )
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load.load(str(path), {}, {}, [])
    assert [f"{path}: {expected}"] == caught.value.problems


def test_empty_pipe() -> None:
    """A pipe that ends without a byte is no configuration either: the program that should write it has failed."""
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(ConfigError, match="it is empty"):
        load.load(f"/dev/fd/{reading}", {}, {}, [])
    os.close(reading)


@pytest.mark.parametrize("content", [b"#", b"\n# nothing\n", b"\xef\xbb\xbf# nothing"], ids=ascii)
def test_comments_alone(path: Path, content: bytes) -> None:
    """A file of comments is a configuration: the defaults."""
    assert DEFAULTS == load_text(path, content)


def test_null_device(path: Path) -> None:
    """/dev/null, named or linked to, stands for the defaults: an administrator has chosen it."""
    path.symlink_to(os.devnull)
    assert DEFAULTS == load.load(str(path), {}, {}, []) == load.load(os.devnull, {}, {}, [])


def test_byte_order_mark(path: Path) -> None:
    """A byte order mark, which Notepad writes, is accepted."""
    assert 3 == load_text(path, b"\xef\xbb\xbfworkers = 3\r\n").workers


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_wide_characters(path: Path, encoding: str) -> None:
    """The error for a file of two or four bytes a character says how to save it."""
    found = problems(path, "workers = 3\n".encode(encoding))
    assert 1 == len(found)
    assert "UTF-16" in found[0]
    assert "save it as UTF-8" in found[0]


def test_damaged_file(path: Path) -> None:
    """Zero bytes, which a crash leaves in a file, are an error that names the line."""
    expected = "line 2: a zero byte: the file is damaged, or UTF-16; restore it, or save it as UTF-8"
    assert [expected] == problems(path, b"workers = 3\nform\0\0\0\0")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "{ a = " * 100_000], ids=["arrays", "tables"])
def test_bottomless_toml(path: Path, text: str) -> None:
    """A file that is nested too deeply is refused as not TOML."""
    found = problems(path, text)
    assert (1, True) == (len(found), found[0].startswith("not TOML: "))


def test_number_without_end(path: Path) -> None:
    """A number with more digits than Python reads causes an error of the file, not a traceback."""
    assert 1 == len(problems(path, "workers = " + "9" * 5000))


def test_not_utf8(path: Path) -> None:
    """The error for a file that is not UTF-8 names the line and the byte."""
    assert ["line 2: byte 0xff is not UTF-8; save the file as UTF-8"] == problems(path, b"\nformat = '\xff'")


def test_largest_file(path: Path) -> None:
    """A file of the largest size is read; one byte more is refused, and the rest is not read."""
    comment = "#" * source.LARGEST_FILE
    assert DEFAULTS == load_text(path, comment)
    assert [f"it is larger than {source.LARGEST_FILE} bytes; pass the path of the configuration with -c"] == problems(
        path, comment + "#"
    )


def test_pipe(tmp_path: Path) -> None:
    """A named pipe is refused without a wait; an inherited descriptor of a pipe is read."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError) as caught:
        load.load(str(tmp_path / "pipe"), {}, {}, [])
    assert [f"{tmp_path}/pipe: it is a pipe, which a reload cannot read again; use a file"] == caught.value.problems
    reading, writing = os.pipe()
    os.write(writing, b'format = "unix"\n')
    os.close(writing)
    assert load.load(f"/dev/fd/{reading}", {}, {}, []).format == "unix"
    os.close(reading)


@pytest.mark.parametrize("folder", ["/dev/shm", "/tmp"])
def test_pipe_with_a_writer(folder: str) -> None:
    """A named pipe is refused wherever it is, even while a writer that says nothing holds it open."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        os.mkfifo(f"{place}/pipe")
        holder = os.open(f"{place}/pipe", os.O_RDWR)
        with pytest.raises(ConfigError, match="it is a pipe"):
            load.load(f"{place}/pipe", {}, {}, [])
        os.close(holder)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/ptmx"])
def test_device(device: str) -> None:
    """A device is refused."""
    with pytest.raises(ConfigError) as caught:
        load.load(device, {}, {}, [])
    assert [f"{device}: it is a device, which a reload cannot read again; use a file"] == caught.value.problems


def test_socket(path: Path) -> None:
    """A unix socket is refused."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        with pytest.raises(ConfigError) as caught:
            load.load(str(path), {}, {}, [])
    expected = f"{path}: it is a socket or a missing device; pass the path of a file with -c"
    assert [expected] == caught.value.problems


@pytest.mark.parametrize("named", [True, False], ids=["named", "default"])
def test_link_that_leads_nowhere(path: Path, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link without its file is an error, for the default path too: the configuration was lost."""
    path.symlink_to(path.with_name("gone"))
    monkeypatch.setattr(load, "DEFAULT_PATH", str(path))
    with pytest.raises(ConfigError) as caught:
        load.load(str(path) if named else None, {}, {}, [])
    assert [f"{path}: the link leads nowhere; restore the file, or remove the link"] == caught.value.problems


def test_missing_file(tmp_path: Path) -> None:
    """A file that -c names has to exist."""
    with pytest.raises(ConfigError) as caught:
        load.load(f"{tmp_path}/none.toml", {}, {}, [])
    expected = [f"{tmp_path}/none.toml: No such file or directory; pass the path of the file with -c"]
    assert expected == caught.value.problems


def test_directory(tmp_path: Path) -> None:
    """A directory is refused."""
    with pytest.raises(ConfigError) as caught:
        load.load(str(tmp_path), {}, {}, [])
    assert [f"{tmp_path}: Is a directory; pass the path of a file in it"] == caught.value.problems


def test_unreadable_file(path: Path) -> None:
    """A file that this user may not read is an error of permission (77), not of configuration."""
    path.write_text("")
    path.chmod(0)
    with unprivileged(), pytest.raises(NoPermissionError) as caught:
        load.load(str(path), {}, {}, [])
    expected = f"{path}: Permission denied; this user may not read the configuration"
    assert (77, expected) == (caught.value.exit_code, str(caught.value))


# -- precedence ------------------------------------------------------------------------------------------------------

#: For each variable: a value of the file and its result, a text of the environment and its result.
WINNERS: dict[str, tuple[str, Any, str, Any]] = {
    "workers": ("1", 1, "2", 2),
    "timezone": ('"UTC"', "UTC", "Asia/Kolkata", "Asia/Kolkata"),
    "format": ('"ctime"', "ctime", "nist", "nist"),
    "access.allow": ('["192.0.2.1"]', (ipaddress.ip_network("192.0.2.1"),), "", ()),
    "access.deny": (
        "[]", (), "192.0.2.1, ::1 10.0.0.0/8", tuple(map(ipaddress.ip_network, ("192.0.2.1", "::1", "10.0.0.0/8"))),
    ),
    "access.rate": ("1", 1.0, "0.5", 0.5),
    "access.burst": ("1", 1, " +2 ", 2),
    "log.level": ('"debug"', "debug", "error", "error"),
    "log.format": ('"json"', "json", "console", "console"),
    "log.clients": ('"none"', "none", "dropped", "dropped"),
    "log.client_rate": ("1.5", 1.5, "3", 3.0),
    "log.client_burst": ("1", 1, "2", 2),
    "log.quiet": ('["::1"]', (ipaddress.ip_network("::1"),), "127.0.0.0/8", (ipaddress.ip_network("127.0.0.0/8"),)),
}  # fmt: skip


def value_of(loaded: Config, key: str) -> Any:
    section, _, name = key.rpartition(".")
    return getattr(getattr(loaded, section) if section else loaded, name)


def test_winners_of_every_variable_are_known_here() -> None:
    """Every variable has a test of its precedence."""
    assert [each.path for each in VARIABLES.values()] == list(WINNERS)


@pytest.mark.parametrize("key", WINNERS)
def test_precedence(path: Path, key: str) -> None:
    """The environment overrides the file, and the file overrides the default."""
    in_file, from_file, in_environment, from_environment = WINNERS[key]
    text, _ = document(key, in_file)
    environ = {"DAYTIMED_" + key.upper().replace(".", "_"): in_environment}
    expected = [value_of(DEFAULTS, key), from_file, from_environment, from_environment]
    found = [load_text(path), load_text(path, text), load_text(path, text, environ), load_text(path, "", environ)]
    assert expected == [value_of(each, key) for each in found]


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("workers", "5", 5),
        ("timezone", "America/New_York", "America/New_York"),
        ("format", "smtp", "smtp"),
        ("log.level", "critical", "critical"),
        ("log.format", "journal", "journal"),
    ],
)
def test_command_line_wins(path: Path, key: str, text: str, expected: object) -> None:
    """A flag overrides environment and file."""
    in_file, _, in_environment, _ = WINNERS[key]
    setting = next(each for each in SETTINGS if each.path == key)
    environ = {setting.variable: in_environment}
    loaded = load_text(path, document(key, in_file)[0], environ, **{key: load.check_option(setting, text)})
    assert expected == value_of(loaded, key)


def test_flag_with_a_fault() -> None:
    """An invalid value of a flag causes the same sentence as one of its key."""
    with pytest.raises(ValueError, match=r'^"many" is not a whole number from 0 to 1024$'):
        load.check_option(SECTIONS[""]["workers"], "many")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("WORKERS", "", '"" is not a whole number from 0 to 1024'),
        ("WORKERS", "1.0", '"1.0" is not a whole number from 0 to 1024'),
        ("WORKERS", "9" * 30, f'"{"9" * 30}" is not a whole number from 0 to 1024'),
        ("WORKERS", "\u0661", '"\u0661" is not a whole number from 0 to 1024'),
        ("ACCESS_RATE", "1.2.3", '"1.2.3" is neither 0 nor a number from 0.001 to 1000000'),
        ("ACCESS_RATE", "fast", '"fast" is neither 0 nor a number from 0.001 to 1000000'),
        ("ACCESS_ALLOW", "::1, nowhere", f'"nowhere" {NO_NETWORK}'),
        ("LISTEN", ":1 nowhere", "'nowhere' has no port; write HOST:PORT, for example nowhere:6000"),
        (
            "LISTEN",
            "[::ffff:127.0.0.1]:1",
            "'[::ffff:127.0.0.1]:1' is an IPv4 address in IPv6 notation; write tcp://127.0.0.1:1",
        ),
        ("LOG_LEVEL", "INFO", '"INFO" is not one of debug, info, warning, error, critical; did you mean info?'),
    ],
)
def test_variables_with_faults(path: Path, key: str, text: str, expected: str) -> None:
    """The error for an invalid value in the environment begins with the name of the variable."""
    assert [f"DAYTIMED_{key}: {expected}"] == problems(path, "", {f"DAYTIMED_{key}": text})


def test_settings_of_a_listener_fall_back_to_the_merged_ones(path: Path) -> None:
    """A listener without a setting uses that of the daemon, after environment and command line."""
    text = 'format = "smtp"\n[[listener]]\naddress = 1\n[[listener]]\naddress = 2\nformat = "unix"'
    loaded = load_text(path, text, {"DAYTIMED_FORMAT": "nist"}, **{"workers": 4})
    assert [("nist", 4), ("unix", 4)] == [(each.format, each.workers) for each in loaded.listeners]


def test_addresses_of_the_command_line_replace_all_listeners(path: Path) -> None:
    """`-l` replaces all listeners, those of the file and of the environment."""
    text = '[[listener]]\naddress = 1\nname = "x"\nformat = "nist"\n[[listener]]\naddress = 2'
    loaded = load_text(path, text, {LISTEN_VARIABLE: "3"}, addresses.parse("4"), addresses.parse("udp://:5"))
    expected = (
        ListenerConfig("daytime", Address("tcp", "", 4), "sentence", 0, "local"),
        ListenerConfig("daytime-2", Address("udp", "", 5), "sentence", 0, "local"),
    )
    assert expected == loaded.listeners


def test_addresses_of_the_environment_replace_those_of_the_file(path: Path) -> None:
    """DAYTIMED_LISTEN replaces the listeners of the file; if it is empty, it changes nothing."""
    text = '[[listener]]\naddress = 1\nname = "x"'
    loaded = [load_text(path, text, {LISTEN_VARIABLE: each}) for each in ("3, unix:///a 4", "")]
    expected = [["tcp://:3", "unix:///a", "tcp://:4"], ["tcp://:1"]]
    assert expected == [[str(each.address) for each in one.listeners] for one in loaded]


def test_address_given_twice(path: Path) -> None:
    """The error for the same address twice on the command line does not blame the file."""
    with pytest.raises(ConfigError) as caught:
        load_text(path, "", None, addresses.parse("4"), addresses.parse(":4"))
    expected = ["the list of addresses: listener[1].address: tcp://:4 is also the address of listener[0]"]
    assert expected == caught.value.problems


def test_replaced_listeners_are_still_checked(path: Path) -> None:
    """An invalid listener of the file is an error even if `-l` replaces it."""
    expected = ["listener[0].address: True is not a string in quotes"]
    assert expected == problems(path, "[[listener]]\naddress = true", None, addresses.parse("4"))


def test_unknown_variables() -> None:
    """The variables with our prefix that set nothing are unknown, and no others."""
    environ = {
        "DAYTIMED_WORKERS": "1",
        "DAYTIMED_LISTEN": "1",
        "DAYTIMED_Z": "",
        "DAYTIMED_A": "",
        "PATH": "",
        "XDAYTIMED_A": "",
    }
    assert ["DAYTIMED_A", "DAYTIMED_Z"] == load.unknown_variables(environ)


# -- printing --------------------------------------------------------------------------------------------------------


def test_commented_example_is_the_defaults(path: Path) -> None:
    """The shipped file sets the defaults."""
    assert DEFAULTS == load_text(path, commented_example())


def test_commented_example_names_every_key() -> None:
    """The shipped file has each key once, with its help above, and with its default if it has one."""
    section = ""
    found = {}
    above: list[str] = []
    for line in commented_example().splitlines():
        key, _, value = line.removeprefix("# ").partition(" =")
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif key.isidentifier():
            found[section + key] = ("\n".join(above), value.strip(), line.startswith("#"))
            above = []
        elif line:
            above.append(line.removeprefix("# "))
    expected = {
        each.path: (each.help, "" if each.default is None else to_toml_value(each.default), each.default is None)
        for each in SETTINGS
    }
    assert expected == found


#: Without IPv4-mapped networks, which are read as IPv4 networks.
IPV6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address).filter(lambda address: not address.ipv4_mapped)
NETWORKS = st.one_of(
    st.builds(
        lambda address, prefix: ipaddress.ip_network((address, prefix), strict=False),
        st.ip_addresses(v=4),
        st.integers(0, 32),
    ),
    st.builds(
        lambda address, prefix: ipaddress.ip_network((address, prefix), strict=False),
        IPV6,
        st.integers(0, 128),
    ),
)


def is_format(name: str) -> bool:
    try:
        return bool(formats.check_format(name))
    except ValueError:
        return False


FORMATS = st.one_of(
    st.sampled_from(formats.NAMES),
    st.text(st.characters().filter("\0".__ne__), min_size=1, max_size=20).map("strftime:{}".format).filter(is_format),
)
ZONES = st.sampled_from(["local", "UTC", "Asia/Kolkata"])
WORKERS = st.integers(0, MOST_WORKERS // 4)
RATES = st.just(0.0) | st.floats(checks.LEAST_RATE, checks.MOST_RATE)
BURSTS = st.integers(1, 1_000_000)
LISTENERS = st.lists(
    st.builds(
        ListenerConfig,
        name=st.from_regex(r"[!-9;-~]{1,20}", fullmatch=True),
        address=st.one_of(
            st.none(),
            st.builds(Address, st.just("tcp"), st.sampled_from(["", "::1", "localhost"]), st.integers(1, 65535)),
            st.builds(
                Address, st.just("unix"), path=st.text("a \"\\'\u00e9", min_size=1, max_size=8).map("/{}".format)
            ),
        ),
        format=FORMATS,
        workers=WORKERS,
        timezone=ZONES,
    ),
    min_size=1,
    max_size=3,
    unique_by=(
        lambda each: each.name,
        lambda each: (each.address.port or each.address.path) if each.address else each.name,
    ),
).map(tuple)
NETWORK_TUPLES = st.lists(NETWORKS, max_size=3).map(tuple)
CONFIGS = st.builds(
    Config,
    workers=WORKERS,
    timezone=ZONES,
    format=FORMATS,
    listeners=LISTENERS,
    access=st.builds(AccessConfig, allow=NETWORK_TUPLES, deny=NETWORK_TUPLES, rate=RATES, burst=BURSTS),
    log=st.builds(
        LogConfig,
        level=st.sampled_from(settings.LOG_LEVELS),
        format=st.sampled_from(settings.LOG_FORMATS),
        clients=st.sampled_from(settings.LOG_CLIENTS),
        client_rate=RATES,
        client_burst=BURSTS,
        quiet=NETWORK_TUPLES,
    ),
)


@given(wanted=CONFIGS)
@example(wanted=DEFAULTS)
def test_printed_configuration_loads_to_the_same(wanted: Config) -> None:
    """The output of `--print-config` is TOML, sets every key, and loads to the same configuration."""
    text = to_toml(wanted)
    keys = {section: set(settings) for section, settings in SECTIONS.items()}
    found = tomllib.loads(text)
    without = set() if wanted.listeners[0].address else {"address"}
    assert keys["listener"] - without == set(found["listener"][0])
    assert {**keys, "": keys[""]} == {
        "": {key for key in found if not isinstance(found[key], dict | list)},
        "listener": keys["listener"],
        **{key: set(value) for key, value in found.items() if isinstance(value, dict)},
    }
    assert wanted == load_file(text.encode())


def check_file(content: bytes) -> None:
    """Assert that a file causes errors, or is a configuration whose printed form loads to the same."""
    try:
        loaded = load_file(content)
    except ConfigError as error:
        check_faults(error, "/dev/fd/")
    else:
        assert loaded == load_file(to_toml(loaded).encode())


def check_faults(error: ConfigError, place: str) -> None:
    """Assert that each error is one printable line that begins with its place."""
    assert error.problems
    assert [] == [each for each in error.problems if not each.startswith(place) or not each.isprintable()]


@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from(
                [
                    b"[access]",
                    b"[[listener]]",
                    b"workers = 2",
                    b"workers = 1e400",
                    b"\n",
                    b"x",
                    b"format = ",
                    b"'nist'",
                    b"[",
                    b"]",
                    b"=",
                ]
            ),
            max_size=8,
        ).map(b"".join),
    )
)
@example(content=b"listener = 0x" + b"f" * 5000)
@example(content=b"workers = 0x" + b"f" * 5000)
@example(content=b"listener" + b".a" * 5000 + b" = 1")
@example(content=b"log.level" + b".a" * 5000 + b" = 1")
@example(content=b"access.allow = ['fe80::%a\"b/64']")
def test_any_file_is_a_configuration_or_an_error(content: bytes) -> None:
    """Any file is a configuration, or causes errors of one printable line each, which name the file."""
    check_file(content)


#: Values as a file has them: some that a key accepts, and any others.
VALUES = st.recursive(
    st.one_of(
        st.sampled_from(["1", "0.5", "'info'", "'UTC'", "':0'", "'unix:///a'", "'json'", "'none'", "'strftime:%c'"]),
        st.sampled_from(["['192.0.2.0/24', '::/0']", "['::ffff:192.0.2.0/120']", "1979-05-27T07:32:00Z", "07:32:00"]),
        st.integers().map(str),
        st.floats().map(str),
        st.booleans().map(lambda value: str(value).lower()),
        st.text(max_size=20).map(to_toml_value),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
        st.dictionaries(st.text(max_size=3).map(to_toml_value), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        ),
    ),
    max_leaves=5,
)
#: A header and keys below it, most of them keys of that section.
TABLES = st.one_of(
    *(
        st.tuples(
            st.just(header),
            st.dictionaries(
                st.sampled_from([*SECTIONS[section], "listener"]) | st.text(max_size=8).map(to_toml_value),
                VALUES,
                max_size=4,
            ),
        )
        for section, header in {"": "", "listener": "[[listener]]", "access": "[access]", "log": "[log]"}.items()
    )
)


@given(
    tables=st.lists(TABLES, max_size=4, unique_by=lambda table: table[0] if table[0] != "[[listener]]" else id(table))
)
def test_any_document_is_a_configuration_or_an_error(tables: list[tuple[str, dict[str, str]]]) -> None:
    """Any value under any key is accepted, or causes errors of one printable line each."""
    lines = []
    for header, table in sorted(tables, key=lambda table: table[0]):
        lines += [header, *(f"{key} = {value}" for key, value in table.items())]
    check_file("\n".join(lines).encode())


@given(
    environ=st.dictionaries(
        st.sampled_from([*VARIABLES, LISTEN_VARIABLE]),
        OS_TEXT | st.sampled_from(["0", "5", "0.5", "UTC", ":13,udp://:13", "192.0.2.0/24 ::1", "info", "json", "all"]),
    )
)
def test_any_variables_are_a_configuration_or_an_error(environ: dict[str, str]) -> None:
    """Any value of the variables is accepted and can be printed, or causes errors of one printable line each."""
    try:
        loaded = load.load(os.devnull, environ, {}, [])
    except ConfigError as error:
        check_faults(error, "")
    else:
        assert loaded == load_file(to_toml(loaded).encode())


@given(address=st.ip_addresses(v=4), prefix=st.integers(0, 32))
def test_mapped_networks_are_those_of_ipv4(address: ipaddress.IPv4Address, prefix: int) -> None:
    """A network of IPv4-mapped addresses means the IPv4 network, as a client with a mapped address is IPv4."""
    network = ipaddress.IPv4Network((address, prefix), strict=False)
    loaded = load_file(f"access.deny = ['::ffff:{network.network_address}/{96 + prefix}']".encode())
    assert (network,) == loaded.access.deny
    assert addresses.unmap(f"::ffff:{address}") in NetworkSet(loaded.access.deny)
