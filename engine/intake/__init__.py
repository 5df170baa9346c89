"""Taking in a database that was restored, at an engine's start; and comparing one with today's, while the engine runs."""

from engine.intake.intake import NotTakenIn, take_in
from engine.intake.preview import compare

__all__ = ["NotTakenIn", "compare", "take_in"]
