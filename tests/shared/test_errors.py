"""The error tree."""

import pytest

import shared.errors
from shared.errors import InternalError, InvalidRequest, ServiceError, all_errors, error_from_code


def test_every_error_has_a_code_of_its_own():
    """Given the tree, when the codes are collected, then no two classes share one and none inherits one."""
    kinds = all_errors()

    assert len(kinds) > 15
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all("code" in vars(kind) for kind in kinds)
    assert all(kind.code.replace("_", "").isalpha() and kind.code.islower() for kind in kinds)


def test_the_tree_at_the_top_of_the_file_names_every_class():
    """Given the drawing in the module's docstring, when compared, then it has every class."""
    drawn = shared.errors.__doc__

    assert [kind.__name__ for kind in all_errors() if kind.__name__ not in drawn] == []


@pytest.mark.parametrize("kind", all_errors())
def test_a_stored_code_gives_the_error_again(kind):
    """Given a code and a sentence, when read from a record, then it is the same class with the same sentence."""
    error = error_from_code(kind.code, "A sentence.")

    assert type(error) is kind
    assert (error.message, str(error), error.fields) == ("A sentence.", "A sentence.", {})


def test_an_unknown_code_is_an_internal_error():
    """Given a code of another version, when read, then it is an InternalError with the sentence."""
    assert type(error_from_code("from_the_future", "A sentence.")) is InternalError


def test_fields_are_copied():
    """Given fields, when the error is made, then later changes of the caller's dict do not reach it."""
    fields = {"H": ("too large",)}
    error = InvalidRequest("no", fields)
    fields.clear()

    assert error.fields == {"H": ["too large"]}
    assert isinstance(error, ServiceError)
