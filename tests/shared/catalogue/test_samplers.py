"""The sampler table against the documented wire names."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.catalogue.samplers import DEFAULT_SAMPLER, SAMPLERS, canonical_name, wire_names

DOCUMENTED = [
    "ddim", "plms", "k_euler_a", "k_euler_ancestral", "k_euler", "k_lms", "k_heun", "k_dpm_2", "k_dpm_2_a",
    "k_dpmpp_2s_a", "dpm2s_a", "k_dpmpp_2m", "k_dpmpp_sde", "k_dpm_fast", "k_dpm_ad", "k_lms_ka", "k_dpm_2_ka",
    "k_dpm_2_a_ka", "k_dpmpp_2s_a_ka", "k_dpmpp_2m_ka", "k_dpmpp_sde_ka", "k_dpmpp_2m_sde", "k_dpmpp_2m_sde_ka",
    "k_dpmpp_3m_sde", "k_dpmpp_3m_sde_ka", "uni_pc", "deis", "ddpm", "lcm", "tcd",
]  # fmt: skip


def test_the_wire_names_are_the_documented_ones():
    """Given the table, when its names are listed, then they are the documented ones, each once."""
    assert sorted(wire_names()) == sorted(DOCUMENTED)


@pytest.mark.parametrize(("alias", "name"), [("k_euler_ancestral", "k_euler_a"), ("dpm2s_a", "k_dpmpp_2s_a")])
def test_an_alias_is_its_sampler(alias, name):
    """Given an alias, when resolved, then it is the table's own name."""
    assert canonical_name(alias) == canonical_name(name) == name


@pytest.mark.parametrize("name", ["", "DDIM", "Euler a", "k_euler_a "])
def test_an_unknown_name_is_no_sampler(name):
    """Given another name, when resolved, then there is none."""
    assert canonical_name(name) is None


def test_karras_forms_differ_from_their_plain_ones_by_the_sigmas_alone():
    """Given a Karras form, when compared with its plain one, then use_karras_sigmas is added, or takes the place of
    another schedule."""
    karras = [name for name in SAMPLERS if name.endswith("_ka")]

    assert len(karras) == 8
    for name in karras:
        plain, row = SAMPLERS[name.removesuffix("_ka")], SAMPLERS[name]
        assert row.implementation == plain.implementation
        others = {name: value for name, value in plain.arguments.items() if name != "use_exponential_sigmas"}
        assert dict(row.arguments) == {**others, "use_karras_sigmas": True}


def test_labels_are_unique_and_arguments_are_plain():
    """Given the table, when read, then each label stands once and every argument can be written as JSON."""
    labels = [row.label for row in SAMPLERS.values()]

    assert len(set(labels)) == len(labels)
    assert json.loads(json.dumps([dict(row.arguments) for row in SAMPLERS.values()]))
    assert DEFAULT_SAMPLER in SAMPLERS


def test_enough_steps_are_those_that_were_measured():
    """Given the latest measurement, when its numbers of steps are compared with the table's, then they are the same.

    It was taken with a model that is not distilled, so it tells nothing of samplers for those that are.
    """
    scores = json.loads((Path(__file__).parents[3] / "benchmarks" / "results" / "samplers.json").read_text())["scores"]
    assert {name: row.enough_steps for name, row in SAMPLERS.items() if row.enough_steps} == {
        name: score["enough"]
        for name, score in scores.items()
        if score["enough"] and SAMPLERS[name].evaluations_per_step and not SAMPLERS[name].for_distilled
    }


def test_the_table_cannot_be_changed():
    """Given the table, when somebody writes to it, then that is an error."""
    tables: list[Any] = [SAMPLERS, SAMPLERS["ddim"].arguments]  # their types allow no writing either
    for table in tables:
        with pytest.raises(TypeError):
            table["ddim"] = SAMPLERS["plms"]
