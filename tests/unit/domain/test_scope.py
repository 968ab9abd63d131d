from itertools import product

import pytest

from keyturn.domain.scope import Action, KeyScope, parse_scope
from keyturn.errors import InvalidInputError

COVERED = {
    KeyScope.READ: {KeyScope.READ},
    KeyScope.WRITE: {KeyScope.WRITE},
    KeyScope.ADMIN: {KeyScope.ADMIN},
    KeyScope.READ_WRITE: {KeyScope.READ, KeyScope.WRITE, KeyScope.READ_WRITE},
    KeyScope.FULL: set(KeyScope),
}


@pytest.mark.parametrize(("held", "asked"), list(product(KeyScope, KeyScope)))
def test_a_scope_covers_exactly_the_scopes_whose_actions_it_holds(held: KeyScope, asked: KeyScope) -> None:
    assert held.covers(asked) is (asked in COVERED[held])


def test_admin_neither_reads_nor_writes() -> None:
    assert KeyScope.ADMIN.actions == {Action.ADMIN}
    assert KeyScope.FULL.actions == set(Action)


@pytest.mark.parametrize("scope", KeyScope)
def test_a_scope_is_written_as_its_lower_case_name(scope: KeyScope) -> None:
    assert scope.value == scope.name.lower()
    assert parse_scope(scope.value) is scope


@pytest.mark.parametrize("text", ["", "Read", "READ", " read", "read write", "read,write", "*", "none"])
def test_an_unknown_scope_is_refused_and_the_known_ones_are_named(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_scope(text)
    assert refused.value.field == "scope"
    assert refused.value.fix == "Use one of: read, write, admin, read_write, full."
