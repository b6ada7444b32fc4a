"""A value that is read again only once it is old."""

import pytest

from shared.lately import Lately


@pytest.fixture
def numbers():
    """A list of what is to be read next, from its end; an exception in it is raised."""
    return [3, 2, 1]


@pytest.fixture
def read(numbers):
    def one():
        value = numbers.pop()
        if isinstance(value, Exception):
            raise value
        return value

    return one


def test_a_value_is_read_again_once_it_is_old(read, clock):
    """Given a value that is kept for a second, when asked for again and again, then it is read once a second."""
    lately = Lately(read, 1, clock)
    found: list[int | None] = []
    for _ in range(3):
        found += [lately.get(), lately.get()]
        clock.now += 1
    assert found == [1, 1, 2, 2, 3, 3]


def test_for_no_time_at_all_every_question_reads(read, clock):
    """Given a value that is kept for 0 seconds, when asked for twice at one moment, then it is read twice."""
    lately = Lately(read, 0, clock)
    assert [lately.get(), lately.get()] == [1, 2]


def test_what_cannot_be_read_is_an_error_and_not_the_old_value(read, numbers, clock):
    """Given a value that is old, when reading fails, then that is said, and the next question reads again."""
    numbers[1] = OSError("away")
    lately = Lately(read, 1, clock)
    lately.get()
    clock.now += 1
    with pytest.raises(OSError, match="away"):
        lately.get()
    assert lately.get() == 3


def test_while_one_reads_the_others_are_given_the_old_value(clock):
    """Given a value that is old, when asked for while it is being read, then the old one is given."""
    found: list[int | None] = []

    def read():
        found.append(lately.get() if found else None)
        return len(found)

    lately = Lately(read, 1, clock)
    assert lately.get() == 1
    clock.now += 1
    assert lately.get() == 2
    assert found == [None, 1]


def test_what_is_renewed_is_told_to_everybody(read, clock):
    """Given a value that is kept, when it is read anew out of turn, then that is what is told from then on."""
    lately = Lately(read, 1, clock)
    assert lately.get() == 1
    clock.now += 0.9
    assert lately.renewed() == 2
    clock.now += 0.9
    assert lately.get() == 2


def test_an_older_reading_does_not_undo_a_newer_one(clock):
    """Given a value that is being read, when it is read anew meanwhile, then the older reading is not kept."""
    found: list[str] = []

    def read():
        clock.now += 0.1
        if not found:
            found.append("old")
            assert lately.renewed() == "new"
            return "old"
        return "new"

    lately = Lately(read, 1, clock)
    assert lately.get() == "old"
    assert lately.get() == "new"
