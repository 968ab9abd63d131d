"""What a gateway requires of its clients' keys: by its key's profile, by a header, by the query. All of it counts.

    Keyturn-Require: scope=read; permissions="documents.read"; cost=1

What is required is never less than the strictest of these, so that nothing a client slips in loosens anything.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import parse_scope
from keyturn.errors import InvalidInputError, shown
from keyturn.verifier.decision import Demand

MAX_TEXT: Final = 4_096  # characters of a header or a query: the longest permission query, percent-encoded
_MAX_DEMANDS: Final = 1_024

_NAMES: Final = ("scope", "permissions", "cost")
# Strict on purpose: what is read in two ways is required in one of them only.
_PARAMETER: Final = re.compile(r'([a-z]+)=(?:([A-Za-z0-9._-]+)|"([ !#-\[\]-~]*)")')
_SEPARATOR: Final = re.compile(r"[ \t]*;[ \t]*")
_COST: Final = re.compile(r"[1-9][0-9]{0,8}")


@lru_cache(maxsize=_MAX_DEMANDS)
def demand_of(tenant: str, profile: Requirement | None, header: str | None, query: bytes) -> Demand:
    """What a client's key must meet; InvalidInputError for a header or a query that is not understood."""
    asked = (profile, None if header is None else from_header(header), from_query(query))
    return Demand.meeting(tenant, [requirement for requirement in asked if requirement is not None])


def from_header(text: str) -> Requirement | None:
    """What a Keyturn-Require header asks for; None where that is a cost alone."""
    return _requirement(_parameters(_bounded(text)))


def from_query(query: bytes) -> Requirement | None:
    """What a query string asks for; None where it asks for nothing."""
    if not query:
        return None
    try:
        pairs = parse_qsl(
            _bounded(query.decode("ascii")), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except UnicodeError:
        raise InvalidInputError("the query is not UTF-8, percent-encoded") from None
    except ValueError as error:
        raise InvalidInputError(f"the query is not understood: {error}") from None
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise InvalidInputError("a parameter is there twice")
    return _requirement(parameters)


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise InvalidInputError(f"more than {MAX_TEXT:,} characters")
    return text


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while True:
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            raise InvalidInputError(f"column {at + 1}: no parameter such as scope=read is found there")
        name, token, quoted = parameter.groups()
        if name in found:
            raise InvalidInputError(f"column {at + 1}: {name} is there twice")
        found[name] = token if token is not None else quoted
        if parameter.end() == len(text):
            return found
        separator = _SEPARATOR.match(text, parameter.end())
        if separator is None:
            raise InvalidInputError(f"column {parameter.end() + 1}: a ';' is missing")
        at = separator.end()


def _requirement(parameters: dict[str, str]) -> Requirement | None:
    unknown = [name for name in parameters if name not in _NAMES]
    if unknown:
        raise InvalidInputError(f"unknown parameter {shown(unknown[0])}; known are {', '.join(_NAMES)}")
    cost = parameters.get("cost")
    if cost is not None and _COST.fullmatch(cost) is None:
        raise InvalidInputError("cost is a whole number from 1 to 999,999,999")
    scope, permissions = parameters.get("scope"), parameters.get("permissions")
    if scope is None and permissions is None:
        return None
    return Requirement(scope=None if scope is None else parse_scope(scope), permissions=permissions)
