"""The model that a key has chosen."""

from shared.jobs.chosen_models import KEPT_S, ChosenModels


def test_a_choice_is_its_owners_alone(redis_client):
    """Given a choice of one owner, when asked, then it has it and another has none."""
    models = ChosenModels(redis_client, "pd:")
    models.choose("ann", "sd15")
    assert (models.of("ann"), models.of("bob")) == ("sd15", None)
    models.choose("ann", "demo")
    assert models.of("ann") == "demo"


def test_a_choice_is_forgotten_when_long_unused(redis_client):
    """Given a choice, when it is used, then it is kept for so long again, and not for ever."""
    models = ChosenModels(redis_client, "pd:")
    models.choose("ann", "sd15")
    redis_client.expire("pd:chosen_model:ann", 10)
    models.of("ann")
    assert 10 < redis_client.ttl("pd:chosen_model:ann") <= KEPT_S
