"""Cents as text and back."""


def parse_amount(text: str) -> int:
    """Cents in an amount such as "12.50"; ValueError if it is none."""
    whole, dot, fraction = text.strip().partition(".")
    if dot and len(fraction) != 2:
        raise ValueError(f"not an amount: {text!r}")
    sign = -1 if whole.startswith("-") else 1
    return sign * (abs(int(whole)) * 100 + int(fraction or "0"))


def format_amount(cents: int) -> str:
    """An amount with two decimals: 1250 is "12.50"."""
    return f"{cents // 100}.{cents % 100:02d}"
