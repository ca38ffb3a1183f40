"""Texts of others as matplotlib may draw them."""

from __future__ import annotations

import textwrap

__all__ = ["short", "wrapped"]


def short(text: str, columns: int = 16) -> str:
    """One line of so many characters at most, "..." where it is cut. A dollar sign begins no formula."""
    plain = _plain(text)
    return (plain if len(plain) <= columns else plain[: columns - 3] + "...").replace("$", r"\$")


def wrapped(text: str, columns: int) -> str:
    """Lines of so many characters at most."""
    return textwrap.fill(_plain(text), max(10, columns)).replace("$", r"\$")


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
