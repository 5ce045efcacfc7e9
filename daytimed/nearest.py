"""
The known word that a person probably meant, for errors.

The probe uses it too, and loads it only for an error.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def nearest(word: str, known: Collection[str]) -> str:
    """Return the known word that looks most like another one, in any case of letters, or an empty string."""
    import difflib  # slow to load

    by_folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, 1)
    return by_folded[close[0]] if close else ""


def hint_at_flag(word: str, flags: Collection[str], elsewhere: Mapping[str, str]) -> str:
    """
    Return a hint at the flag that was probably meant, or an empty string.

    Args:
        word: An argument that is no flag of this program.
        flags: The flags of this program.
        elsewhere: What to use instead of flags of other programs.
    """
    flag = word.partition("=")[0]
    name = flag.lstrip("-")
    if flag not in elsewhere and f"--{name}" in flags:
        return f"; did you mean --{name}?"
    short = flag[:2] if flag[1:2] != "-" else flag  # -p6000
    if meant := elsewhere.get(flag) or elsewhere.get(short):
        return f"; use {meant}"
    if name == flag:
        return ""
    # dashes make any two flags look alike
    by_name = {each.lstrip("-"): each for each in flags}
    beginning = [each for each in by_name if len(name) > 1 and each.startswith(name)]
    meant = by_name.get(next(iter(beginning), "") or nearest(name, by_name))
    return f"; did you mean {meant}?" if meant else ""
