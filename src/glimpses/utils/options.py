"""Validation of option values, and the group of common options in the help."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

from glimpses.utils.errors import GlimpsesError, unknown_name

#: Annotation that lists an option first in the help of its command.
COMMON = Parameter(group=Group("Common options", sort_key=1))


class InvalidOptionError(GlimpsesError, ValueError):
    """Option that is out of range, unknown, or incompatible with another option."""


@dataclass(frozen=True)
class OptionGroup:
    """Base class of option dataclasses, which remember the options that were given.

    The names are kept beside the fields: they do not count for equality and are not stored.
    """

    def __new__(cls, *args: object, **options: object) -> Self:
        """Note the names of the arguments, which `__init__` gets as well."""
        group = super().__new__(cls)
        names = (*(field.name for field in fields(cls)[: len(args)]), *options)
        object.__setattr__(group, "_given", frozenset(names))
        return group

    @property
    def given_names(self) -> frozenset[str]:
        """Names of the options that were given; all of them for options that were read back.

        `dataclasses.replace` gives every option.
        """
        every = frozenset(field.name for field in fields(self))
        names: frozenset[str] = self.__dict__.get("_given", every)
        return names

    def given_values(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name in self.given_names}

    def overridden_by(self, other: Self) -> Self:
        """Return these options with the given ones of another group in place of their own.

        Raises:
            InvalidOptionError: they do not go together.
        """
        return replace(self, **other.given_values())


def flag(name: str, value: object = None) -> str:
    """Return an option as written on a command line."""
    option = f"--{name.replace('_', '-')}"
    return option if value is None else f"{option} {value}"


def require_choices(options: Any, *, prefix: str = "") -> None:
    """Check that `Literal` fields hold one of their choices, and bool fields a bool."""
    hints = get_type_hints(type(options))
    for field in fields(options):
        name, value = prefix + field.name, getattr(options, field.name)
        if get_origin(hints[field.name]) is Literal:
            require_name(name, value, get_args(hints[field.name]))
        elif hints[field.name] is bool and not isinstance(value, bool):
            raise InvalidOptionError(f"{flag(name, value)}: must be true or false")


def require_name(name: str, value: object, choices: Iterable[str]) -> None:
    """Check that a name is among the choices; suggest the closest one."""
    choices = tuple(choices)
    if value not in choices:
        error = unknown_name(f"{flag(name, value)}: unknown name", str(value), choices)
        raise InvalidOptionError(str(error))


def require_int(name: str, value: object, least: int = 1, most: float = math.inf) -> None:
    """Check that a value is an integer in a range, bounds included."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bounds = f", at least {least}" if most == math.inf else f" from {least} to {most}"
        raise InvalidOptionError(f"{flag(name, value)}: must be a whole number{bounds}")


def require_number(name: str, value: object, least: float, most: float = math.inf) -> None:
    """Check that a value is a finite number in a range, bounds included."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not (least <= value <= most and value < math.inf)
    ):
        bounds = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise InvalidOptionError(f"{flag(name, value)}: must be {bounds}")
