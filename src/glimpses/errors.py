"""The one error that is meant for the user's eyes."""


class GlimpsesError(Exception):
    """Something the user gave or has cannot work.

    Its text is one line that says which file or option it is about, what is wrong, and what to
    do. The command line prints that line on standard error and exits with 1; nothing else is
    ever shown for it.
    """
