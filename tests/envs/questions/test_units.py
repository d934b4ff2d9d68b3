"""Quantities with units: converted before they are compared, and written as free answers."""

import pytest

from envs.errors import UserError
from envs.suites.questions import units as quantities
from policies.action_codec import TextCodec


@pytest.mark.parametrize(
    ("said", "right", "same"),
    [
        ("980 cm/s^2", "9.8 m/s^2", True),
        ("9.85 m/s^2", "9.8 m/s^2", True),
        ("9.91 m/s^2", "9.8 m/s^2", False),
        ("9.8 m/s", "9.8 m/s^2", False),
        ("9.8", "9.8 m/s^2", False),
        ("36 km/h", "10 m/s", True),
        ("1 N*m", "1 J", True),
        ("1 kg*m^2/s^2", "1 J", True),
        ("1.602e-19 J", "1 eV", True),
        ("2 min", "120 s", True),
        ("1 L", "1000 cm^3", True),
        ("180 deg", "3.1416 rad", True),
        ("-5 mA", "-5000 uA", True),
        ("0 m", "0 m", True),
        ("5 m", "-5 m", False),
        ("50 %", "0.5", True),
        ("14cm", "0.14 m", True),
        ("3 kg/m^3", "3e-3 g/cm^3", True),
    ],
)
def test_units_are_converted(said, right, same):
    assert quantities.equal(said, right, 0.01) is same


@pytest.mark.parametrize("text", ["", "m", "1 2", "1 m/s^x", "1 apple", "1 m s", "1..2 m"])
def test_what_is_no_quantity_says_what_is(text):
    with pytest.raises(UserError, match="valid: "):
        quantities.in_base_units(text)


def test_every_common_unit_is_known():
    for unit in quantities.COMMON:
        quantities.in_base_units(f"1 {unit}")


@pytest.mark.parametrize(
    "answer", ["14 cm", "-0.5", "9.80665 m/s^2", "299792458 m/s", "0.000123 m", "1e-12 eV", "50 %"]
)
def test_free_answers_make_the_round_trip(chosen, answer):
    codec = TextCodec(None, quantities.COMMON)
    action = codec.decode(codec.encode(answer))
    assert quantities.equal(action, answer, 1e-3)
    assert codec.encode(action) == f"answer {action}"
    assert codec.instead("answer 1 m", f"answer {action}") == f"answer {action} other"
    assert codec.instead(f"answer {action}", f"answer {action}") == f"answer {action} same"


def test_what_free_answers_may_not_say():
    codec = TextCodec(None, ("m", "s"))
    with pytest.raises(UserError, match="unit 'kg' of '1 kg'; valid: m, s"):
        codec.encode("1 kg")
    for text in ("answer 1 kg", "answer", "answer 12345", "1 m", "answer one"):
        with pytest.raises(UserError, match="does not parse; valid: answer"):
            codec.decode(text)
