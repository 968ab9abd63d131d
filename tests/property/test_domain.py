"""What holds of the domain's values for every input, and not only for those somebody thought of."""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from keyturn.domain import base62, canonical, ids, instants, permission_query, permissions, token
from keyturn.domain.network import NetworkSet, parse_network
from keyturn.domain.secret import Secret
from keyturn.errors import InvalidInputError

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def number_of(text: str) -> int:
    number = 0
    for character in text:
        number = number * 62 + DIGITS.index(character)
    return number


@given(st.integers(0, 2**131), st.integers(23, 40))
def test_base62_loses_nothing_and_keeps_its_width(number: int, width: int) -> None:
    text = base62.encode(number, width)
    assert number_of(text) == number
    assert len(text) == width
    assert base62.is_base62(text)


@given(st.integers(0, 62**6 - 1), st.integers(0, 62**6 - 1))
def test_base62_of_one_width_sorts_like_its_numbers(first: int, second: int) -> None:
    assert (base62.encode(first, 6) < base62.encode(second, 6)) is (first < second)


@given(st.text())
def test_base62_is_what_has_only_its_digits(text: str) -> None:
    assert base62.is_base62(text) is (text != "" and set(text) <= set(DIGITS))


# Times

aware = st.datetimes(
    datetime(1970, 1, 3),
    datetime(2255, 6, 3),
    timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
)
whole_minutes = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.integers(0, instants.MAX_MICROS))
def test_microseconds_survive_every_conversion(micros: int) -> None:
    instant = instants.from_micros(micros)
    assert instants.to_micros(instant) == micros
    assert instants.parse_rfc3339(instants.rfc3339(instant)) == instant
    assert len(instants.rfc3339(instant)) == len("1970-01-01T00:00:00.000000Z")


@given(aware)
def test_an_instant_is_the_same_in_every_zone(instant: datetime) -> None:
    assert instants.from_micros(instants.to_micros(instant)) == instant
    assert instants.rfc3339(instant) == instants.rfc3339(instant.astimezone(UTC))


@given(aware, whole_minutes)
def test_what_other_programs_write_is_read_as_they_meant_it(instant: datetime, zone: timezone) -> None:
    assert instants.parse_rfc3339(instant.astimezone(zone).isoformat()) == instant


@given(st.text() | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]*(Z|[+-][0-9:]*)"))
def test_a_text_is_a_time_or_refused(text: str) -> None:
    with suppress(InvalidInputError):
        assert instants.parse_rfc3339(text).tzinfo is UTC


# Canonical JSON

characters = st.characters(exclude_categories=["Cs"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
    | st.text(characters)
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(characters), inner), max_leaves=20
)


def jcs(value: object) -> str:
    """RFC 8785 once more, as its text says it."""
    match value:
        case dict():
            names = sorted(value, key=lambda name: list(memoryview(name.encode("utf-16-be"))))
            return "{" + ",".join(f"{jcs(name)}:{jcs(value[name])}" for name in names) + "}"
        case list():
            return "[" + ",".join(map(jcs, value)) + "]"
        case str():
            short = {
                '"': '\\"',
                "\\": "\\\\",
                "\b": "\\b",
                "\f": "\\f",
                "\n": "\\n",
                "\r": "\\r",
                "\t": "\\t",
            }
            return '"' + "".join(short.get(c, c if c >= " " else f"\\u{ord(c):04x}") for c in value) + '"'
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
    return str(value)


@given(values)
def test_a_value_has_the_canonical_text_and_comes_back_from_it(value: object) -> None:
    text = canonical.encode(value)
    assert text == jcs(value)
    assert canonical.decode(text) == canonical.decode_sealed(text) == json.loads(text) == value


@given(values, st.booleans(), st.booleans(), st.sampled_from([None, 1]))
def test_another_text_of_the_same_value_is_refused(
    value: object, escape: bool, sort: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=escape, sort_keys=sort, indent=indent)
    if text == jcs(value):
        assert canonical.decode(text) == value
        return
    try:
        canonical.decode(text)
    except InvalidInputError:
        return
    raise AssertionError("a second text for one value")


@given(st.text() | st.text('{}[]":,019.-eE\\u tfn', max_size=30))
def test_a_text_is_canonical_or_refused(text: str) -> None:
    try:
        value = canonical.decode(text)
    except InvalidInputError:
        return
    assert canonical.encode(value) == text


# Tokens and ids

parts = st.tuples(
    st.from_regex(r"[a-z0-9_]{1,32}", fullmatch=True),
    st.text(DIGITS, min_size=16, max_size=16),
    st.sampled_from([22, 43, 688, 1_376]).flatmap(lambda n: st.text(DIGITS, min_size=n, max_size=n)),
)


@given(parts)
def test_a_token_comes_apart_as_it_was_put_together(given_parts: tuple[str, str, str]) -> None:
    prefix, credential_id, secret = given_parts
    text = token.build(prefix, credential_id, secret)
    assert token.parse(text) == token.ParsedToken(prefix, credential_id, Secret(secret))
    assert re.findall(token.SCANNER_PATTERN, f"<{text}>") == [text]


@given(parts, st.data())
def test_a_token_with_one_character_changed_is_refused(
    given_parts: tuple[str, str, str], data: st.DataObject
) -> None:
    text = token.build(*given_parts)
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.characters().filter(lambda character: character != text[place]))
    assert token.parse(text[:place] + wrong + text[place + 1 :]) is None


@given(st.text() | st.text("kt_" + DIGITS))
def test_parsing_a_token_never_raises(text: str) -> None:
    parsed = token.parse(text)
    assert parsed is None or token.build(parsed.prefix, parsed.credential_id, parsed.secret.reveal()) == text


@given(st.text(DIGITS, min_size=22, max_size=22), st.integers(1, ids.MAX_VERSION))
def test_a_version_row_id_comes_apart_as_it_was_put_together(drawn: str, number: int) -> None:
    key_id = ids.build(ids.KEY, drawn)
    assert ids.split_version_row_id(ids.version_row_id(key_id, number)) == (key_id, number)


# Permissions, against a list of every name over a small alphabet. `x` is in no grant: it stands for all the segments
# that nobody thought of, without which a few literal grants would seem to cover a wildcard. Names are one segment
# longer than grants, which tells an open end from a closed one.

NAMES = [".".join(name) for length in (1, 2, 3, 4) for name in product("abx", repeat=length)]
grant = st.lists(st.sampled_from("ab*"), min_size=1, max_size=3).map(".".join)
grants = st.lists(grant, max_size=4)


def matched(pattern: str) -> set[str]:
    head, _, last = pattern.rpartition(".")
    expression = re.escape(head + "." if head else "").replace(r"\*", "[abx]")
    expression += r"[abx](\.[abx])*" if last == "*" else last
    return {name for name in NAMES if re.fullmatch(expression, name)}


@given(grants, st.sampled_from(NAMES))
def test_a_name_is_covered_when_some_grant_matches_it(held: list[str], name: str) -> None:
    expected = any(name in matched(pattern) for pattern in held)
    assert permissions.covers(held, name) is expected
    assert permissions.Grants(held).cover(name) is expected


@given(grants, grants)
def test_grants_lie_within_others_when_all_their_names_do(held: list[str], asked: list[str]) -> None:
    mine = set[str]().union(*map(matched, held))
    assert permissions.grants_within(held, asked) is all(matched(pattern) <= mine for pattern in asked)


@given(grants, grants, st.sampled_from(NAMES))
def test_nothing_can_be_done_with_what_was_handed_on_that_could_not_before(
    held: list[str], asked: list[str], name: str
) -> None:
    """The contract: no key can grant permissions that it lacks."""
    if permissions.grants_within(held, asked) and permissions.covers(asked, name):
        assert permissions.covers(held, name)


# Queries are written as Python's own expressions over the same names, whose precedence is the language's.


def written(depth: int = 3) -> st.SearchStrategy[str]:
    name = st.sampled_from(NAMES)
    if depth == 0:
        return name
    inner = written(depth - 1)
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        name,
        inner.map("NOT {}".format),
        inner.map("({})".format),
        several.map(" AND ".join),
        several.map(" OR ".join),
    )


@given(grants, written())
def test_a_query_is_met_when_its_truth_table_says_so(held: list[str], text: str) -> None:
    covered = {name: permissions.covers(held, name) for name in NAMES}
    expression = text.replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    expression = re.sub(r"[a-z][a-z.]*", lambda word: word_in(word[0], covered), expression)
    query = permission_query.parse_query(text)
    assert query.is_met_by(permissions.Grants(held)) is eval(expression)


def word_in(word: str, covered: dict[str, bool]) -> str:
    return str(covered[word]) if word in covered else word


@given(grants, written())
def test_grants_that_suffice_meet_the_query(held: list[str], text: str) -> None:
    query = permission_query.parse_query(text)
    sufficient = permission_query.names_that_suffice(query)
    if sufficient is not None and sufficient <= set(held):
        assert query.is_met_by(permissions.Grants(held))


@given(st.text() | st.text("ab.* ANDORT()", max_size=30))
def test_a_query_parses_or_is_refused_with_its_column(text: str) -> None:
    try:
        permission_query.parse_query(text)
    except InvalidInputError as error:
        found = re.match(r"column (\d+): ", str(error))
        assert found is None or 1 <= int(found[1]) <= len(text) + 1
        assert found is not None or not text.strip(" ")


# Networks


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_network_contains_what_the_standard_library_says(first: object, second: object, bits: int) -> None:
    held = ip_network(f"{first}/{min(bits, ip_address(str(first)).max_prefixlen)}", strict=False)
    asked = ip_address(str(second))
    mapped = getattr(asked, "ipv4_mapped", None) or asked
    if str(held).startswith("::") and held.prefixlen >= 80:
        return  # mapped networks have examples of their own
    assert NetworkSet((str(held),)).contains(str(asked)) is (
        mapped.version == held.version and mapped in held
    )
    assert NetworkSet((str(held),)).contains(str(held.network_address))


@given(st.text() | st.text("0123456789abcdef.:/%", max_size=50))
def test_a_text_is_a_network_with_one_writing_or_refused(text: str) -> None:
    assert NetworkSet(("0.0.0.0/0", "::/0")).contains(text) in (True, False)
    try:
        written = parse_network(text)
    except InvalidInputError:
        return
    assert parse_network(written) == written
