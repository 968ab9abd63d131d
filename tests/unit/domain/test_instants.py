from datetime import UTC, datetime, timedelta, timezone

import pytest

from keyturn.domain.instants import MAX_MICROS, from_micros, parse_rfc3339, rfc3339, to_micros
from keyturn.errors import InvalidInputError

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def test_an_instant_survives_as_microseconds() -> None:
    assert to_micros(NOON) == 1_769_860_800_123_456
    assert from_micros(1_769_860_800_123_456) == NOON
    assert from_micros(to_micros(NOON)).tzinfo is UTC


def test_the_last_microsecond_that_a_body_can_hold_is_exact() -> None:
    last = datetime(2255, 6, 5, 23, 47, 34, 740991, tzinfo=UTC)
    assert to_micros(last) == MAX_MICROS
    assert from_micros(MAX_MICROS) == last
    assert rfc3339(last) == "2255-06-05T23:47:34.740991Z"


def test_an_offset_changes_the_writing_and_not_the_instant() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert to_micros(elsewhere) == to_micros(NOON)
    assert rfc3339(elsewhere) == rfc3339(NOON) == "2026-01-31T12:00:00.123456Z"


def test_six_decimals_are_written_even_when_they_are_zero() -> None:
    assert rfc3339(datetime(1970, 1, 1, tzinfo=UTC)) == "1970-01-01T00:00:00.000000Z"


def test_a_naive_datetime_is_refused() -> None:
    for convert in (to_micros, rfc3339):
        with pytest.raises(InvalidInputError, match="offset"):
            convert(datetime(2026, 1, 31))


@pytest.mark.parametrize("micros", [-1, MAX_MICROS + 1, 10**30])
def test_microseconds_outside_1970_to_2255_are_refused(micros: int) -> None:
    with pytest.raises(InvalidInputError, match="1970 to 2255"):
        from_micros(micros)


@pytest.mark.parametrize("micros", [True, 1.0, "1", None])
def test_microseconds_that_are_no_integer_are_refused(micros: object) -> None:
    with pytest.raises(InvalidInputError, match="integer"):
        from_micros(micros)  # type: ignore[arg-type]


def test_an_instant_before_1970_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="1970"):
        to_micros(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00.123456Z",
        "2026-01-31t12:00:00.123456z",
        "2026-01-31T13:00:00.123456+01:00",
        "2026-01-31T00:15:00.123456-11:45",
        "2026-02-01T11:59:00.123456+23:59",
        "2026-01-31T12:00:00.123456-00:00",
        "2026-01-31T12:00:00.123456000Z",
    ],
)
def test_every_way_of_writing_an_instant_reads_as_the_same_utc(text: str) -> None:
    """RFC 3339, section 5.6."""
    assert parse_rfc3339(text) == NOON
    assert parse_rfc3339(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "micros"), [("00Z", 0), ("00.5Z", 500_000), ("00.000001Z", 1), ("00.999999999Z", 999_999)]
)
def test_decimals_are_read_exactly_and_cut_off_after_the_sixth(text: str, micros: int) -> None:
    assert parse_rfc3339("2026-01-31T12:00:" + text).microsecond == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00.1234567890Z",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00+01:60",
        "2026-01-31T12:00:00Z\n",
        " 2026-01-31T12:00:00Z",
        "20260131T120000Z",
        "٢٠٢٦-01-31T12:00:00Z",
        "1769860800",
    ],
)
def test_what_is_not_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="RFC 3339"):
        parse_rfc3339(text)


@pytest.mark.parametrize("value", [None, 1_769_860_800, b"2026-01-31T12:00:00Z", NOON])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="RFC 3339"):
        parse_rfc3339(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_a_time_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="exists"):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    "text",
    [
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "2255-06-05T23:47:34-00:01",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
    ],
)
def test_a_time_outside_1970_to_2255_in_utc_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="1970 to 2255"):
        parse_rfc3339(text)
