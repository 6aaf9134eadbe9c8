"""What forms are told of the inference parameters is what the parameters themselves accept."""

import json
from dataclasses import fields, replace

import pytest

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.inference import (
    InferenceParameters,
    ParameterDescription,
    parameter_descriptions,
)

DEFAULTS = InferenceParameters()
NUMBERS = [p for p in parameter_descriptions() if p.kind != "switch"]
SWITCHES = [p for p in parameter_descriptions() if p.kind == "switch"]


def name_of(description: ParameterDescription) -> str:
    return description.name


def accepts(name: str, value: object) -> bool:
    try:
        replace(DEFAULTS, **{name: value})
    except InvalidInputError:
        return False
    return True


def test_every_parameter_is_described_once_with_its_default() -> None:
    described = parameter_descriptions()
    assert [p.name for p in described] == [f.name for f in fields(InferenceParameters)]
    assert {p.name: p.default for p in described} == DEFAULTS.to_json()
    assert all(p.help.endswith(".") for p in described)
    assert json.loads(json.dumps([p.to_json() for p in described]))


@pytest.mark.parametrize("number", NUMBERS, ids=name_of)
def test_the_ends_of_a_range_are_accepted_and_what_lies_beyond_is_not(
    number: ParameterDescription,
) -> None:
    low, high, step, name = number.low, number.high, number.step, number.name
    assert low is not None
    assert high is not None
    assert step is not None
    assert low <= number.default <= high
    assert accepts(name, low)
    assert accepts(name, high)
    assert accepts(name, low + step)
    for beyond in (low - step, high + step, float("nan"), float("inf"), True, str(low), None):
        assert not accepts(name, beyond), beyond


@pytest.mark.parametrize("number", [p for p in NUMBERS if p.kind == "integer"], ids=name_of)
def test_whole_numbers_go_by_their_step(number: ParameterDescription) -> None:
    assert number.low is not None
    assert not accepts(number.name, number.low + 0.5)
    assert accepts(number.name, number.low + 1) == (number.step == 1)


@pytest.mark.parametrize("switch", SWITCHES, ids=name_of)
def test_a_switch_is_true_or_false(switch: ParameterDescription) -> None:
    assert (switch.low, switch.high, switch.step) == (None, None, None)
    assert accepts(switch.name, not switch.default)
    for other in (1, 0, "true", None):
        assert not accepts(switch.name, other)
