"""An instance registers what its type has, less what it keeps for itself."""

from __future__ import annotations

import pytest

from scheduler.instance_types import UnknownInstanceType, instance_type


@pytest.mark.parametrize(
    ("name", "without", "trunking"),
    [("m5.large", 2, 10), ("m6g.medium", 1, 4), ("m7g.large", 2, 10), ("c5.large", 2, 10)],
)
def test_tasks_have_the_interfaces_that_the_host_leaves_them(
    name: str, without: int, trunking: int
) -> None:
    assert instance_type(name).kind().interfaces == without
    assert instance_type(name).kind(trunking=True).interfaces == trunking


def test_a_type_that_cannot_trunk_is_refused() -> None:
    with pytest.raises(UnknownInstanceType, match=r"t3\.small: expected a type with a limit"):
        instance_type("t3.small").kind(trunking=True)


def test_registered_memory_is_what_was_seen_less_the_agents_reserve() -> None:
    assert instance_type("t3.small").kind(reserved_memory=128).memory == 1913 - 128


def test_memory_that_nobody_saw_is_rather_too_little() -> None:
    one = instance_type("m7g.large")
    assert one.registered_mib is None
    assert one.memory == int(8192 * 0.9)


def test_a_vcpu_is_1024_units() -> None:
    assert instance_type("m7g.large").kind().cpu == 2048


def test_an_unknown_type_is_refused_with_where_to_add_it() -> None:
    with pytest.raises(
        UnknownInstanceType, match=r"t9\.mega: expected a type of scheduler/instance"
    ):
        instance_type("t9.mega")
