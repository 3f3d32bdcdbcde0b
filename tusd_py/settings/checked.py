"""Records whose values are declared with a `Doc` each: checked when they are made, shown without what is secret."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_type_hints

import msgspec

from tusd_py.settings.doc import Declared, Doc, Group, SettingsError

_GROUPS = tuple(Group)

AnyDoc = TypeVar("AnyDoc")


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A record that holds normal forms only; its text never has a secret.

    Raises:
        SettingsError: a value cannot be used.
    """

    def __post_init__(self) -> None:
        for each in values_of(type(self)):
            try:
                value = each.doc.kind.accept(getattr(self, each.name))
            except ValueError as error:
                raise SettingsError(self.label(each.name), str(error)) from None
            msgspec.structs.force_setattr(self, each.name, value)

    def label(self, name: str) -> str:
        """Return how people call one of the values."""
        return name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        hidden = {each.name: each.doc.kind.hide(getattr(self, each.name)) for each in values_of(type(self))}
        return [(name, hidden.get(name, getattr(self, name))) for name in self.__struct_fields__]


def docs_of(record: type[Checked], kind: type[AnyDoc]) -> dict[str, AnyDoc]:
    """Return what is said of the values of a record that are declared with a `kind`, by their names."""
    hints = get_type_hints(record, include_extras=True)
    docs = {name: getattr(hint, "__metadata__", (None,))[0] for name, hint in hints.items()}
    return {name: doc for name, doc in docs.items() if isinstance(doc, kind)}


@cache
def values_of(record: type[Checked]) -> tuple[Declared, ...]:
    """Return what a record declares with a `Doc`, group by group, each group in the order of its declaration."""
    docs = docs_of(record, Doc)
    found = [
        Declared(name=field.name, doc=docs[field.name], default=field.default)
        for field in msgspec.structs.fields(record)
        if field.name in docs
    ]
    return tuple(sorted(found, key=lambda each: _GROUPS.index(each.doc.group)))
