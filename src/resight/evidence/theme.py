"""The colours of reports, in light and dark; text on paper has a contrast of at least 4.5 (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14181d"),
    "raised": ("#f5f6f4", "#1c2229"),
    "ink": ("#1b2228", "#e7eaee"),
    "muted": ("#56606a", "#a3adb8"),
    "rule": ("#d9dcd8", "#313a44"),
    "model": ("#1a5f8a", "#7cc0ea"),
    "reference": ("#6b6f75", "#98a1ab"),
    "second": ("#a44a12", "#f0a46b"),
    "good": ("#1f6b43", "#74cf9d"),
    "bad": ("#a3262a", "#ff9a94"),
    "notice": ("#7a5200", "#e9bf62"),
}
"""Name of a colour to its value on light and on dark paper."""

TEXT = ("ink", "muted", "model", "reference", "second", "good", "bad", "notice")
"""Colours that text is written in, on `paper` and on `raised`."""


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two `#rrggbb` colours, 1 to 21 (WCAG 2.2, definition of contrast ratio)."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def style_variables(dark: bool) -> str:
    """The palette as CSS custom properties."""
    return " ".join(f"--{name}: {colours[dark]};" for name, colours in PALETTE.items())


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
