"""Renewing deliveries in kombu's own bookkeeping."""

from typing import Any

from worker.jobs.deliveries import Deliveries


def test_only_held_deliveries_are_renewed(redis_client: Any) -> None:
    """Given two unacknowledged deliveries, when one is held and renewed, then only its time moves to now."""
    redis_client.zadd("p:unacked_index", {"mine": 1.0, "other": 2.0})
    deliveries = Deliveries(redis_client, "p:")
    with deliveries.held("mine"):
        deliveries.renew()
    assert redis_client.zscore("p:unacked_index", "mine") > 1_000_000_000
    assert redis_client.zscore("p:unacked_index", "other") == 2.0


def test_an_acknowledged_delivery_is_not_brought_back(redis_client: Any) -> None:
    """Given a held delivery that was acknowledged meanwhile, when renewed, then it does not reappear."""
    deliveries = Deliveries(redis_client, "p:")
    with deliveries.held("gone"):
        deliveries.renew()
    assert redis_client.exists("p:unacked_index") == 0


def test_a_delivery_is_let_go_when_its_task_ends(redis_client: Any) -> None:
    """Given a task that ended, when the worker renews, then its delivery is left alone."""
    redis_client.zadd("p:unacked_index", {"mine": 1.0})
    deliveries = Deliveries(redis_client, "p:")
    with deliveries.held("mine"):
        pass
    deliveries.renew()
    assert redis_client.zscore("p:unacked_index", "mine") == 1.0
