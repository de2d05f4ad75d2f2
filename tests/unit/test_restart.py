"""The supervisor's decision after a death."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datalane.supervisor.restart import CONFIGURATION_EXIT, Death, GiveUp, Restart, RestartPolicy, after_death

POLICY = RestartPolicy(base=0.1, cap=10.0, steady=30.0, tries=4)


def a_death(deaths: int = 0, uptime: float = 1.0, was_ready: bool = True, exit_status: int = -9) -> Death:
    return Death(deaths, uptime, was_ready, exit_status)


def test_the_first_restart_is_soon_and_each_further_one_waits_twice_as_long() -> None:
    delays = [after_death(POLICY, a_death(deaths)) for deaths in range(4)]
    assert delays == [Restart(1, 0.1), Restart(2, 0.2), Restart(3, 0.4), Restart(4, 0.8)]


def test_a_long_run_clears_the_count() -> None:
    assert after_death(POLICY, a_death(deaths=9, uptime=30.0)) == Restart(1, 0.1)


def test_a_service_that_was_never_ready_is_given_up_after_its_tries() -> None:
    assert isinstance(after_death(POLICY, a_death(deaths=2, was_ready=False)), Restart)
    assert after_death(POLICY, a_death(deaths=3, was_ready=False)) == GiveUp(4)


def test_a_configuration_fault_at_the_first_start_is_given_up_at_once() -> None:
    assert after_death(POLICY, a_death(was_ready=False, exit_status=CONFIGURATION_EXIT)) == GiveUp(1)


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.integers(-64, 255))
def test_what_was_ready_once_is_restarted_for_ever_with_a_bounded_wait(
    deaths: int, uptime: float, exit_status: int
) -> None:
    decision = after_death(POLICY, a_death(deaths, uptime, exit_status=exit_status))
    assert isinstance(decision, Restart)
    assert POLICY.base <= decision.delay <= POLICY.cap
