"""The exception whose message is shown to the user, and helpers that write such messages."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable
from itertools import islice

# Marks that change the direction of the text after them.
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


# Clips to name in one line; the reason of each is logged before.
_MAX_NAMES = 20


class GlimpsesError(Exception):
    """Error caused by the user's input or environment.

    The message is one line that names the file or option, the problem and the remedy. The command
    line prints it on standard error without a traceback and exits with 1.
    """


def unknown_name(message: str, name: str, choices: Iterable[str]) -> GlimpsesError:
    """Return the error that begins with `message`, with the closest match and all choices."""
    names = list(choices)
    matches = difflib.get_close_matches(name, names, n=1)
    suggestion = f"did you mean {matches[0]}? " if matches else ""
    return GlimpsesError(f"{message}; {suggestion}there are {', '.join(names)}")


def pluralise(count: int, noun: str) -> str:
    """Return a count with its noun, as in `1 clip` or `5 clips`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def escape_controls(text: str) -> str:
    """Return text for a terminal: control characters but line breaks are written as escapes.

    The name of a file or class may hold sequences that would move the cursor or set the title;
    so may characters that reverse the direction of text.
    """
    return "".join(
        letter
        if letter == "\n" or (unicodedata.category(letter) != "Cc" and letter not in _DIRECTIONS)
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def describe_unreadable(clips: Collection[str], total: int) -> tuple[str, ...]:
    """Return the last line of a command that left out clips: their number and names.

    Args:
        clips: ids of the clips, whose reasons have been logged.
        total: number of all clips.
    """
    if not clips:
        return ()
    names = ", ".join(islice(clips, _MAX_NAMES))
    more = f" and {len(clips) - _MAX_NAMES} more" if len(clips) > _MAX_NAMES else ""
    return (f"could not be read: {len(clips)} of {pluralise(total, 'clip')}: {names}{more}",)


def describe_error(error: Exception) -> str:
    """Return the first line of another library's error, or its type if the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class WithFailures:
    """Base of the results of commands that go on after a video that cannot be read.

    Attributes:
        failures: one line for each video that could not be read.
    """

    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if every video could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line for each video that could not be read."""
        return self.failures
