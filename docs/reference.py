"""Writes docs/reference.md from the public classes' signatures and docstrings: `make reference`."""

from __future__ import annotations

import enum
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import keyturn
from keyturn import errors

PAGE: Final = Path(__file__).with_name("reference.md")
HEAD: Final = """# Reference of the Python interface

Made from the code by `make reference`; what each name takes, gives and raises.
"""


def page() -> str:
    """The whole page."""
    return (
        HEAD
        + "".join(_class(name, getattr(keyturn, name)) for name in keyturn.__all__ if name != "__version__")
        + _errors()
    )


def _class(name: str, kind: type[Any]) -> str:
    text = f"\n## {name}\n\n{_marked_up(_doc(kind))}\n"
    if issubclass(kind, enum.Enum):
        return text + f"\nMembers: {', '.join(f'`{member.name}`' for member in kind)}.\n"
    return text + "".join(_member(name, member) for member in _members(kind))


def _members(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, in the order of the source."""
    for name, value in vars(kind).items():
        is_shown = isinstance(value, (property, classmethod)) or inspect.isfunction(value)
        if is_shown and not name.startswith("_"):
            yield name, value


def _member(owner: str, member: tuple[str, Any]) -> str:
    name, value = member
    if isinstance(value, property):
        return f"\n### {owner}.{name}\n\n{_marked_up(_doc(value))}\n"
    function = value.__func__ if isinstance(value, classmethod) else value
    signature = str(inspect.signature(function, eval_str=False)).replace("'", "")
    shown = signature.replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
    return f"\n### {owner}.{name}\n\n```python\n{name}{shown}\n```\n\n{_marked_up(_doc(function))}\n"


def _errors() -> str:
    return f"\n## Errors\n\n```text\n{_doc(errors)}\n```\n"


def _doc(thing: object) -> str:
    return inspect.cleandoc(inspect.getdoc(thing) or "")


def _marked_up(text: str) -> str:
    """A docstring's sections as headings with lists under them."""
    text = re.sub(r"(?m)^(Args|Attributes|Raises|Returns):$", r"**\1**\n", text)
    text = re.sub(r"(?m)^ {4}(?=[\w, ]+: )", "- ", text)
    return re.sub(r"``([^`]*)``", r"`\1`", text)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name} is written\n")
