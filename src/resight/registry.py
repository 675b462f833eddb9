"""Name -> typed options -> builder: how every exchangeable part of Resight is found.

A member lives in one file of a room and registers itself with a literal name. Nothing else has to be edited: the room's
files are imported the first time a name is looked up.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from resight.errors import SettingsError, nearest
from resight.settings import Options, validate

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Member(Generic[Builder]):
    """One registered part: its name, its options and what builds it."""

    name: str
    options: type[Options]
    builder: Builder

    @property
    def summary(self) -> str:
        """First line of the options' docstring."""
        return (self.options.__doc__ or "").strip().splitlines()[0]


class Registry(Generic[Builder]):
    """The members of one room.

    Args:
        kind: what a member is called in messages, for example `"head"`.
        package: the room whose files hold the members, for example `"resight.heads"`, or the one file that does.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._members: dict[str, Member[Builder]] = {}
        self._complete = False

    def register(self, name: str, options: type[Options]) -> Callable[[Builder], Builder]:
        """Register the decorated class or function under `name`.

        Raises:
            ValueError: the name is taken by another builder.
        """

        def add(builder: Builder) -> Builder:
            if name in self._members:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._members[name] = Member(name, options, builder)
            return builder

        return add

    def names(self) -> tuple[str, ...]:
        """Every registered name, sorted."""
        self._import_room()
        return tuple(sorted(self._members))

    def member(self, name: str, *, where: str = "") -> Member[Builder]:
        """Look one member up.

        Raises:
            SettingsError: there is none of that name; the nearest one is named.
        """
        self._import_room()
        if name not in self._members:
            raise SettingsError(f"unknown {self.kind} {name!r}", where=where, fix=nearest(name, self._members))
        return self._members[name]

    def build(self, name: str, options: Mapping[str, Any] | Options | None = None, **context: Any) -> Any:
        """Check the options and call the member's builder with them.

        Args:
            name: registered name.
            options: the member's options, as a mapping or already validated.
            context: what the room's `base.py` promises every builder, for example `in_features`.

        Raises:
            SettingsError: unknown name, unknown key or impossible value.
        """
        member = self.member(name)
        return member.builder(self.options(name, options), **context)

    def options(self, name: str, options: Mapping[str, Any] | Options | None = None) -> Options:
        """The validated options of a member."""
        member = self.member(name)
        if isinstance(options, member.options):
            return options
        given = options.model_dump() if isinstance(options, Options) else dict(options or {})
        return validate(member.options, given, where=f"{self.kind} {name!r}")

    def _import_room(self) -> None:
        if self._complete:
            return
        room = importlib.import_module(self._package)
        for info in pkgutil.iter_modules(getattr(room, "__path__", ())):
            importlib.import_module(f"{self._package}.{info.name}")
        self._complete = True
