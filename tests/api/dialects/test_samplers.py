"""Names of samplers and schedules as other programs have them."""

import pytest

from api.dialects.samplers import sampler_list, scheduler_list, split_name, wire_fields
from shared.catalogue.samplers import SAMPLERS, canonical_name
from shared.errors import InvalidRequest, NotFound


def wire_sampler(name, scheduler):
    """The sampler alone, where its own schedule is the one asked for."""
    (sampler,) = wire_fields(name, scheduler).values()
    return sampler


OWN_SCHEDULE = (None, "", "automatic", "Automatic", "normal", "simple", "Simple", "uniform", "ddim", "DDIM")


@pytest.mark.parametrize(
    ("sampler", "scheduler", "ours"),
    [
        ("Euler a", None, "k_euler_a"),
        ("euler A", "automatic", "k_euler_a"),
        ("DPM++ 2M", "Karras", "k_dpmpp_2m_ka"),
        ("DPM++ 2M", "karras", "k_dpmpp_2m_ka"),
        ("DPM++ 2M Karras", None, "k_dpmpp_2m_ka"),
        ("DPM++ 2M Karras", "normal", "k_dpmpp_2m_ka"),
        ("DPM++ 2M Karras", "KARRAS", "k_dpmpp_2m_ka"),
        ("DPM++ 2M", "Automatic", "k_dpmpp_2m"),
        ("DDIM", "ddim", "ddim"),
        ("k_dpmpp_2m", "karras", "k_dpmpp_2m_ka"),
        ("k_euler_ancestral", None, "k_euler_a"),
    ],
)
def test_joint_and_split_names_are_one_sampler(sampler, scheduler, ours):
    """Given a sampler and its schedule, joint or split, in any case, when resolved, then it is the one of our table."""
    assert wire_sampler(sampler, scheduler) == ours


@pytest.mark.parametrize("scheduler", OWN_SCHEDULE)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_found_by_its_names(name, scheduler):
    """Given each sampler's label and name, when sent with a word for its own schedule, then it is that sampler."""
    assert wire_sampler(SAMPLERS[name].label, scheduler) == name
    assert wire_sampler(name, scheduler) == name


@pytest.mark.parametrize("name", SAMPLERS)
def test_names_go_there_and_back(name):
    """Given a sampler, when split into A1111's two names, then these stand for it again."""
    assert wire_sampler(*split_name(name)) == name


def test_a_foreign_sampler_is_what_clients_look_for():
    """Given a sampler that is not here, when resolved, then NotFound has the sentence that clients test for."""
    with pytest.raises(NotFound, match=r"^Sampler not found$") as wrong:
        wire_sampler("Restart", None)
    assert "DPM++ 2M" in wrong.value.fields["sampler_name"][0]


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("Euler", "Align Your Steps"), ("Euler a", "Karras"), ("DDIM", "karras"), ("LCM", "Beta")],
)
def test_a_schedule_that_is_not_here_is_refused_by_name(sampler, scheduler):
    """Given a schedule that is not here, or not with this sampler, when resolved, then InvalidRequest names it."""
    with pytest.raises(InvalidRequest) as wrong:
        wire_sampler(sampler, scheduler)
    assert "scheduler" in wrong.value.fields


def test_lists_have_what_can_be_sent():
    """Given the lists of samplers and schedules, when their names and aliases are sent, then they are understood."""
    listed = sampler_list()
    assert {"Euler", "Euler a", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM fast"} < {
        each["name"] for each in listed
    }
    for each in listed:
        for alias in each["aliases"]:
            assert wire_sampler(each["name"], None) == canonical_name(alias)
    for each in scheduler_list():
        for alias in (each["label"], *(each["aliases"] or ())):
            assert wire_fields("DPM++ 2M", each["name"]) == wire_fields("DPM++ 2M", alias)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "ours", "schedule"),
    [
        ("DPM++ 2M", "SGM Uniform", "k_dpmpp_2m", "sgm_uniform"),
        ("DPM++ 2M", "Exponential", "k_dpmpp_2m", "exponential"),
        ("euler", "karras", "k_euler", "karras"),
        ("DDIM", "trailing", "ddim", "sgm_uniform"),
        ("UniPC", "beta", "uni_pc", "beta"),
    ],
)
def test_a_schedule_is_a_field_of_its_own(sampler, scheduler, ours, schedule):
    """Given a schedule that is in no joint name, when resolved, then it is asked for beside it, and told so."""
    assert wire_fields(sampler, scheduler) == {"sampler": ours, "schedule": schedule}
    assert wire_fields(*split_name(ours, schedule)) == {"sampler": ours, "schedule": schedule}
