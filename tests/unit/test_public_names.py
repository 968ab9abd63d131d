import importlib
from typing import Final

import pytest

import keyturn

# The names that users see; the modules beside them repeat those that belong to them.
CONTRACT: Final = {
    "SecureKeyGenerator", "GeneratedKey", "KeyType", "KeyScope", "KeyLength",
    "SecureKeyStore", "KeyMetadata", "KeyUsageEvent", "Verification",
    "KeyRotator", "RotationPolicy", "RotationEvent", "RotationStrategy", "RotationFrequency",
    "KeyturnError", "Secret",
}  # fmt: skip
PUBLIC: Final = [
    "keyturn",
    "keyturn.client",
    "keyturn.key_generator",
    "keyturn.key_rotator",
    "keyturn.key_store",
]
FETCHED: Final = {"Client", "IssuedKey"}  # imported when they are first asked for


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_what_the_contract_promises_can_be_imported(name: str) -> None:
    assert name in keyturn.__all__
    assert isinstance(getattr(keyturn, name), type)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_exported_name_exists_and_they_are_sorted(module: str) -> None:
    imported = importlib.import_module(module)
    assert all(hasattr(imported, name) for name in imported.__all__)
    assert list(imported.__all__) == sorted(set(imported.__all__))


def test_the_package_exports_what_it_shows_and_nothing_else() -> None:
    """A name that can be imported and is not exported would be used, and missed when it goes."""
    shown = {
        name
        for name, value in vars(keyturn).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("keyturn.")
    }
    assert shown == set(keyturn.__all__) - FETCHED


@pytest.mark.parametrize("module", PUBLIC[1:])
def test_a_name_is_the_same_thing_wherever_it_is_imported_from(module: str) -> None:
    imported = importlib.import_module(module)
    assert set(imported.__all__) <= set(keyturn.__all__)
    assert all(getattr(imported, name) is getattr(keyturn, name) for name in imported.__all__)


def test_each_name_of_the_package_comes_from_one_of_its_public_modules() -> None:
    exported = {name for module in PUBLIC[1:] for name in importlib.import_module(module).__all__}
    assert set(keyturn.__all__) == exported | {"KeyturnError"}


def test_a_star_import_brings_the_exported_names() -> None:
    namespace: dict[str, object] = {}
    exec("from keyturn import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(keyturn.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"keyturn.*Keys"):
        keyturn.Keys  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(keyturn.__all__)))
def test_every_exported_name_says_what_it_is(name: str) -> None:
    documented = getattr(keyturn, name).__doc__
    assert documented
    assert len(documented.strip()) > 20
