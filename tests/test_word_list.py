"""The word list of `make lint` finds private words, and nothing else."""

from pathlib import Path

from tests.word_list import findings


def test_a_private_word_is_found_with_its_place_and_the_field_s_word(tmp_path: Path) -> None:
    """Given a comment with a private word, when looked through, then file, line and what to say instead are told."""
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "engine.py").write_text('"""Fine."""\n# a UNet call of many\n')
    assert list(findings(tmp_path)) == ["client/engine.py:2: 'UNet call': say forward pass"]


def test_a_part_of_another_word_is_none(tmp_path: Path) -> None:
    """Given words that contain a private one, when looked through, then nothing is found."""
    (tmp_path / "page.md").write_text("A preflight request.\n")
    assert list(findings(tmp_path)) == []
