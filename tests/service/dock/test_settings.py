"""What the environment may say to the service."""

import pytest
from dock.settings import Settings, SettingsError, read


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read({}) == Settings(port=8080, drain_seconds=10, keep_alive_seconds=75)


def test_each_variable_is_taken() -> None:
    environ = {"PORT": "80", "DRAIN_SECONDS": "0", "KEEP_ALIVE_SECONDS": "4060"}
    assert read(environ) == Settings(port=80, drain_seconds=0, keep_alive_seconds=4060)


@pytest.mark.parametrize(
    ("name", "value", "low", "high"),
    [
        ("PORT", "0", 1, 65535),
        ("PORT", "65536", 1, 65535),
        ("PORT", "", 1, 65535),
        ("PORT", " 8080", 1, 65535),
        ("PORT", "8080\n", 1, 65535),
        ("PORT", "٨٠", 1, 65535),
        ("DRAIN_SECONDS", "-1", 0, 110),
        ("DRAIN_SECONDS", "111", 0, 110),
        ("DRAIN_SECONDS", "1.5", 0, 110),
        ("KEEP_ALIVE_SECONDS", "0", 1, 4060),
        ("KEEP_ALIVE_SECONDS", "9" * 5000, 1, 4060),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(
    name: str, value: str, low: int, high: int
) -> None:
    with pytest.raises(SettingsError) as caught:
        read({name: value})
    assert str(caught.value) == f"{name}: expected an integer from {low} to {high}, got {value!r}"


def test_all_bad_values_are_named_at_once_a_line_each() -> None:
    with pytest.raises(SettingsError) as caught:
        read({"PORT": "x", "DRAIN_SECONDS": "y\n"})
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["PORT", "DRAIN_SECONDS"]
