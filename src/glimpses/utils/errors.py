"""The one error that is meant for the user's eyes, and what it is made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GlimpsesError(Exception):
    """Something the user gave or has cannot work.

    Its text is one line that says which file or option it is about, what is wrong, and what to
    do. The command line prints that line on standard error and exits with 1; nothing else is
    ever shown for it.
    """


def unknown_name(subject: str, given: str, offered: Iterable[str]) -> GlimpsesError:
    """The error for a name that is not on offer: what was probably meant, and what there is."""
    names = list(offered)
    close = difflib.get_close_matches(given, names, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return GlimpsesError(f"{subject}; {meant}there are {', '.join(names)}")


def pluralise(count: int, thing: str) -> str:
    """How many there are of a thing, as in `1 clip` or `5 clips`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def describe_error(error: Exception) -> str:
    """What other people's code says went wrong, as one line; its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
