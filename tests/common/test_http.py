"""HTTP: what a server's `Retry-After` asks for."""

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from dim.common.http import retry_after


def test_dates_of_retry_after():
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)
    assert 58 < retry_after(date) <= 60
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0


def test_what_cannot_be_read_asks_for_nothing():
    """A caller then backs off by its own rule; a negative number must not mean at once."""
    for value in ("-5", "-1", "nan", "inf", "soon", "", "Wed, 99 Oct", "\u0661", None):
        assert retry_after(value) is None, value
