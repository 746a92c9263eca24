"""Validation of option values, and the group of options that people change first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

from glimpses.utils.errors import GlimpsesError, unknown_name

#: Puts an option of a dataclass first in the help of its command.
COMMON = Parameter(group=Group("Common options", sort_key=1))


class InvalidOptionError(GlimpsesError, ValueError):
    """An option that is out of range, unknown, or does not go with another one."""


def flag(name: str, value: object = None) -> str:
    """Return an option as it is written on a command line."""
    option = f"--{name.replace('_', '-')}"
    return option if value is None else f"{option} {value}"


def require_choices(options: Any, *, prefix: str = "") -> None:
    """Refuse a dataclass whose `Literal` or `bool` fields hold other values."""
    hints = get_type_hints(type(options))
    for field in fields(options):
        name, value = prefix + field.name, getattr(options, field.name)
        if get_origin(hints[field.name]) is Literal:
            require_name(name, value, get_args(hints[field.name]))
        elif hints[field.name] is bool and not isinstance(value, bool):
            raise InvalidOptionError(f"{flag(name, value)}: must be true or false")


def require_name(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a name that is not among the choices; suggest the closest one."""
    choices = tuple(choices)
    if value not in choices:
        raise InvalidOptionError(
            str(unknown_name(f"{flag(name, value)}: unknown name", str(value), choices))
        )


def require_int(name: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Refuse what is not a whole number in a range, bounds included."""
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not least <= value <= (math.inf if most is None else most)
    ):
        raise InvalidOptionError(
            f"{flag(name, value)}: must be a whole number{_range(least, most)}"
        )


def require_number(name: str, value: object, least: float, most: float | None = None) -> None:
    """Refuse what is not a finite number in a range, bounds included."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not least <= value <= (math.inf if most is None else most)
    ):
        raise InvalidOptionError(
            f"{flag(name, value)}: must be{_range(least, most).removeprefix(',')}"
        )


def _range(least: float, most: float | None) -> str:
    return f", at least {least}" if most is None else f" from {least} to {most}"
