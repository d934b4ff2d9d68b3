"""Numbers with units, such as `9.8 m/s^2`: read, brought to base units, compared.

The coherent SI units of common use, their prefixes, products, quotients and whole powers. No offsets, so no degrees
Celsius; angles are numbers without a unit, as in the SI.
"""

import re
from math import pi

import numpy as np

from envs.errors import UserError

NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"  # digits of other scripts are no number
VALID = "a number with at most one unit after a space, such as 9.8 m/s^2, 14 cm, 3e8 m/s or 0.5"
PREFIXES = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "c": 1e-2, "d": 1e-1}
PREFIXES |= {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
# name -> what it is in m, kg, s, A, K, mol, and the powers of these
PREFIXED = {
    "m": (1.0, (1, 0, 0, 0, 0, 0)),
    "g": (1e-3, (0, 1, 0, 0, 0, 0)),
    "s": (1.0, (0, 0, 1, 0, 0, 0)),
    "A": (1.0, (0, 0, 0, 1, 0, 0)),
    "K": (1.0, (0, 0, 0, 0, 1, 0)),
    "mol": (1.0, (0, 0, 0, 0, 0, 1)),
    "Hz": (1.0, (0, 0, -1, 0, 0, 0)),
    "N": (1.0, (1, 1, -2, 0, 0, 0)),
    "Pa": (1.0, (-1, 1, -2, 0, 0, 0)),
    "J": (1.0, (2, 1, -2, 0, 0, 0)),
    "eV": (1.602176634e-19, (2, 1, -2, 0, 0, 0)),
    "W": (1.0, (2, 1, -3, 0, 0, 0)),
    "C": (1.0, (0, 0, 1, 1, 0, 0)),
    "V": (1.0, (2, 1, -3, -1, 0, 0)),
    "F": (1.0, (-2, -1, 4, 2, 0, 0)),
    "ohm": (1.0, (2, 1, -3, -2, 0, 0)),
    "Wb": (1.0, (2, 1, -2, -1, 0, 0)),
    "T": (1.0, (0, 1, -2, -1, 0, 0)),
    "H": (1.0, (2, 1, -2, -2, 0, 0)),
    "L": (1e-3, (3, 0, 0, 0, 0, 0)),
}
PLAIN = {
    "": (1.0, (0, 0, 0, 0, 0, 0)),
    "%": (1e-2, (0, 0, 0, 0, 0, 0)),
    "rad": (1.0, (0, 0, 0, 0, 0, 0)),
    "deg": (pi / 180, (0, 0, 0, 0, 0, 0)),
    "min": (60.0, (0, 0, 1, 0, 0, 0)),
    "h": (3600.0, (0, 0, 1, 0, 0, 0)),
}
# Units that an answer may use although its question names none: the grammar has to list them.
COMMON = (
    *("m", "km", "cm", "mm", "um", "nm", "m^2", "cm^2", "m^3", "L", "mL", "g", "kg", "mg", "kg/m^3"),
    *("s", "ms", "us", "min", "h", "Hz", "kHz", "MHz", "m/s", "km/h", "cm/s", "m/s^2", "rad", "deg", "rad/s", "%"),
    *("N", "kN", "N*m", "N/m", "kg*m/s", "Pa", "kPa", "MPa", "J", "kJ", "MJ", "eV", "keV", "MeV", "W", "kW", "MW"),
    *("W/m^2", "K", "mol", "C", "A", "mA", "V", "mV", "kV", "ohm", "T"),
)


def split(text: str) -> tuple[float, str]:
    """`9.8 m/s^2` -> number and unit, which may be empty. Raises UserError for anything else."""
    match = re.fullmatch(rf"\s*({NUMBER})(?:\s*([^\s\d+-]\S*))?\s*", text)
    if not match:
        raise UserError(f"{text!r} is no quantity; valid: {VALID}")
    return float(match[1]), match[2] or ""


def in_base_units(text: str) -> tuple[float, tuple[int, ...]]:
    """A number with its unit -> the number in m, kg, s, A, K, mol, and their powers. Raises UserError for neither."""
    number, unit = split(text)
    scale, powers = 1.0, np.zeros(6, int)
    for i, part in enumerate(unit.split("/")):
        sign = 1 if i == 0 else -1
        for one in re.split(r"[*·]", part):
            factor, of, power = _factor(one)
            scale *= factor ** (sign * power)
            powers += sign * power * np.array(of)
    return number * scale, tuple(powers.tolist())


def equal(said: str, right: str, tolerance: float) -> bool:
    """Whether both are of one kind and differ by at most this share of what is right. Raises UserError as above."""
    (a, of_a), (b, of_b) = in_base_units(said), in_base_units(right)
    return of_a == of_b and abs(a - b) <= tolerance * abs(b)


def _factor(text: str) -> tuple[float, tuple[int, ...], int]:
    """`cm^2` -> what a cm is in base units, their powers, and 2."""
    name, _, power = text.partition("^")
    if re.fullmatch(r"-?[0-9]", power or "1"):
        if name in PLAIN:  # before prefixes: `min` is no thousandth of an inch
            return *PLAIN[name], int(power or 1)
        for prefix, scale in PREFIXES.items():
            base = name.removeprefix(prefix)
            if name.startswith(prefix) and base in PREFIXED:
                factor, powers = PREFIXED[base]
                return scale * factor, powers, int(power or 1)
    valid = f"{', '.join([*PREFIXED, *filter(None, PLAIN)])}, those before % with a prefix ({', '.join(PREFIXES)[2:]})"
    raise UserError(f"unknown unit {text!r}; valid: {valid}, joined by * and /, with powers such as ^2")
