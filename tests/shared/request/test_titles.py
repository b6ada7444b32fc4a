"""What a form shows of the parameters, and what it leaves out."""

from shared.request.schemas import SCHEMAS
from shared.request.titles import TITLES, UNTITLED


def test_a_parameter_is_shown_or_it_is_said_why_not():
    """Given the parameters of all requests, then each has a title or a reason to have none, and not both."""
    fields = set[str]().union(*(schema.keys() for schema in SCHEMAS.values()))

    assert {*TITLES, *UNTITLED} == fields
    assert not TITLES.keys() & UNTITLED.keys()
    assert all(UNTITLED.values())
