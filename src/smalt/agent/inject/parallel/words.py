"""Errors of any length, in short."""

from __future__ import annotations


def shortened(text: str, most: int) -> str:
    """Without its middle where it is longer: MLflow shows the data first, and then what is wrong with it."""
    return text if len(text) <= most else f"{text[: most // 3]} […] {text[-(most - most // 3) :]}"


def in_a_line(text: str, most: int = 500) -> str:
    return shortened(" ".join(text.split()), most)
