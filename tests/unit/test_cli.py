"""The command line of the daemon, up to the start of the service."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_config import check_faults, load_file
from unit_help import OS_TEXT, caught_errors

from daytimed import arguments, cli
from daytimed.config.toml import to_toml
from daytimed.errors import ConfigError, UsageError

WORDS = [flag for action in arguments.make_parser()._actions for flag in action.option_strings]
WORDS += ["--", "-", "0", "4", "info", "json", "UTC", "local", "nist", "strftime:%c", ":13", "udp://:13", "unix:///a"]


@given(words=st.lists(st.sampled_from(WORDS) | OS_TEXT, max_size=6))
@example(words=["-w", "%(prog)s"])
@example(words=["a\nb", "\x1b[2J", "\udcff"])
def test_any_words_are_options_or_one_sentence(words: list[str]) -> None:
    """Any command line is accepted, or rejected with exit status 2 and one printable line."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            options = arguments.parse(words)
    except SystemExit as asked:
        # --help and --version
        assert asked.code == 0
    except UsageError:
        with caught_errors() as told:
            assert cli.main(words) == 2
            assert re.fullmatch(r"daytimed: [^\n]+; see daytimed --help\n", told())
            assert told()[:-1].isprintable()
    else:
        options.config = os.devnull
        try:
            loaded = cli._load(options)
        except ConfigError as error:
            check_faults(error, "")
        else:
            assert loaded == load_file(to_toml(loaded).encode())


OPTIONS = [action for action in arguments.make_parser()._actions if action.nargs is None]


@pytest.mark.parametrize("action", OPTIONS, ids=lambda action: action.dest)
def test_two_dashes_are_no_value(action: argparse.Action) -> None:
    """Joined to an option, `--` is rejected or taken literally, although argparse makes an empty list of it."""
    for flag in action.option_strings:
        word = f"{flag}=--" if flag.startswith("--") else f"{flag}--"
        try:
            options = arguments.parse(["--daemon", word])
        except UsageError:
            continue
        assert "--" in str(vars(options)[action.dest])
