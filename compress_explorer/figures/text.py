"""Numbers in words, the same in every figure and readout. 1 KB = 1000 bytes; minus signs are real ones."""

import math

from compress_explorer.spec.evaluation import Evaluation

UNKNOWN = "…"
"""Stands for a number that is not known yet."""
NOTHING = "–"
"""Stands for a number that does not exist."""

_MEGABYTES_FROM = 10_000_000


def escape(text: str) -> str:
    """`text` so that plotly shows it as it is: plotly reads a subset of HTML, and `$...$` as TeX."""
    one_line = " ".join(text.split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;")):
        one_line = one_line.replace(character, entity)
    return one_line


def shorten(text: str, length: int) -> str:
    """`text` with its middle left out when it has more than `length` characters: the ends tell layers apart."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


def unit_of_bytes(largest: int) -> tuple[str, int]:
    """The unit for an axis that reaches `largest` bytes: its name, and the bytes of one."""
    return ("MB", 1_000_000) if largest >= _MEGABYTES_FROM else ("KB", 1000)


def in_bytes(count: int) -> str:
    """E.g. "812 B", "27.4 KB", "1,066.6 KB", "44.7 MB"."""
    if count < 1000:
        return f"{count} B"
    unit, size = unit_of_bytes(count)
    return f"{count / size:,.1f} {unit}"


def ratio(before: int, after: int) -> str:
    """How many times smaller, e.g. "38.9x smaller"."""
    if after > before * 1.005:
        return f"{_three_digits(after / before)}x larger"
    if after < before / 1.005:
        return f"{_three_digits(before / after)}x smaller"
    return "same size"


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def signed(number: float, digits: int = 2) -> str:
    """E.g. "+0.40", "−0.12", "0.00"."""
    rounded = round(number, digits)
    sign = "−" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction as per cent, e.g. "98.21 %"."""
    return f"{fraction * 100:.{digits}f} %"


def half_width(evaluation: Evaluation) -> str:
    """Half the interval's width in points, e.g. "± 0.26"."""
    return f"± {evaluation.interval.half_width * 100:.2f}"


def difference(evaluation: Evaluation) -> str:
    """The paired difference to the baseline, e.g. "−0.12 ± 0.06 points"; "" without a baseline."""
    if evaluation.difference is None or evaluation.difference_interval is None:
        return ""
    return f"{signed(evaluation.difference * 100)} ± {evaluation.difference_interval.half_width * 100:.2f} points"


def verdict(evaluation: Evaluation) -> str:
    """The words "within noise" when the paired interval admits that nothing changed, else nothing."""
    return "within noise" if evaluation.difference_interval is not None and evaluation.within_noise else ""


def decibels(value: float) -> str:
    """E.g. "31.4 dB"; "no error" when nothing changed."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "no error" if value > 0 else "−∞ dB"
    return f"{value:.1f} dB".replace("-", "−")
