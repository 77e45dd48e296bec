"""Durations, as callers give them."""

from protocol.errors import InvalidSettings


def check_seconds(name: str, value: float, *, is_positive: bool = True) -> None:
    """Refuse what is no duration.

    Raises:
        InvalidSettings: it is no number, or below 0 (0 too, if it is to be positive).
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    # Written so that not-a-number is refused too.
    if not is_number or not (value > 0 if is_positive else value >= 0):
        least = "above 0" if is_positive else "of at least 0"
        raise InvalidSettings(f"{name} must be a number of seconds {least}, not {value!r}")
