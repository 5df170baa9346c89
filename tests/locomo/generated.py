"""Conversations from a seeded generator, in LoCoMo's form: about 300 turns, some of them facts that questions ask for.

A fact is one turn that names a thing, a place and a day of one speaker; its question uses two of the three in other words. The
turns around it are small talk, and other facts share its person, its place or its verb.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

_SEED = 20_240_517
_CONVERSATIONS = 3
_SESSIONS = 10
_TURNS = 10
_FACTS_PER_SESSION = 3

_NAMES = (("Ines", "Tobias"), ("Ruth", "Kofi"), ("Marta", "Jonas"))
_PLACES = (
    "Lisbon", "Bergen", "the old harbour", "the night market", "grandmother's attic", "the botanical garden", "Sapporo",
    "the repair café", "the climbing hall", "Valparaíso", "the municipal archive", "the ferry to Skye",
)  # fmt: skip
_DEEDS = (
    ("bought {} from a retired sailor", "Where did {who} buy {thing}?"),
    ("lost {} and found it again a week later", "What happened to {thing} that {who} had with them?"),
    ("finally finished repairing {}", "Which thing did {who} repair in {place}?"),
    ("gave {} away to a neighbour's daughter", "To whom did {who} give {thing}?"),
    ("was taught how to build {}", "What did {who} learn to build in {place}?"),
    ("photographed {} for the exhibition", "What did {who} take pictures of in {place}?"),
)
_THINGS = (
    "a brass sextant", "a walnut cello", "a folding kayak", "a beekeeper's smoker", "a marbled fountain pen", "a stone oven",
    "a barometer", "an accordion", "a weaving loom", "a telescope mirror", "a fern collection", "a copper still",
    "a paper lantern", "a dry stone wall", "a mechanical clock", "an enamel teapot", "a cedar canoe", "a letterpress",
    "a wind harp", "a terracotta roof", "a moss garden", "a quilted coat", "a sundial", "a ceramic whistle",
    "a chess set", "a bicycle trailer", "a herbarium", "a puppet theatre", "a sourdough starter", "a bread knife",
)  # fmt: skip
_SMALL_TALK = (
    "How have you been since we last spoke?",
    "That sounds like so much fun, tell me everything.",
    "Work keeps me busy, but I can't complain.",
    "I wish I had more evenings like that.",
    "You always find the most surprising things to do.",
    "The weather has been dreadful here all week.",
    "Let's talk again soon, I have to run.",
    "I could use a holiday, honestly.",
    "My sister says hello, by the way.",
    "Did you sleep well after all that?",
)


def conversations() -> list[dict[str, Any]]:
    """Return the same conversations at every call."""
    chance = random.Random(_SEED)
    return [_conversation(chance, f"talk-{number}", names) for number, names in enumerate(_NAMES[:_CONVERSATIONS], 1)]


def _conversation(chance: random.Random, name: str, speakers: tuple[str, str]) -> dict[str, Any]:
    conversation: dict[str, Any] = {"speaker_a": speakers[0], "speaker_b": speakers[1]}
    questions: list[dict[str, Any]] = []
    things = chance.sample(_THINGS, _SESSIONS * _FACTS_PER_SESSION)
    day = datetime(2023, 3, 1, 9, 30)
    for session in range(1, _SESSIONS + 1):
        day += timedelta(days=chance.randrange(3, 20), minutes=chance.randrange(0, 300))
        told_at = chance.sample(range(_TURNS), _FACTS_PER_SESSION)
        turns = []
        for position in range(_TURNS):
            speaker = speakers[position % 2]
            turn_id = f"D{session}:{position + 1}"
            text = chance.choice(_SMALL_TALK)
            if position in told_at:
                text, question = _fact(chance, speaker, things.pop())
                questions.append({"question": question, "evidence": [turn_id]})
            turns.append({"speaker": speaker, "dia_id": turn_id, "text": text})
        conversation[f"session_{session}"] = turns
        conversation[f"session_{session}_date_time"] = _date_time(day)
    return {"sample_id": name, "conversation": conversation, "qa": questions}


def _fact(chance: random.Random, speaker: str, thing: str) -> tuple[str, str]:
    deed, question = chance.choice(_DEEDS)
    place = chance.choice(_PLACES)
    when = chance.choice(("last Tuesday", "over the weekend", "in the first week of the month", "on my birthday"))
    text = f"Guess what: {when} I {deed.format(thing)}, in {place} of all places."
    asked = thing.split(" ", maxsplit=1)[1]
    return text, question.format(who=speaker, thing=f"the {asked}", place=place)


def _date_time(moment: datetime) -> str:
    clock = f"{moment.hour % 12 or 12}:{moment.minute:02} {'am' if moment.hour < 12 else 'pm'}"
    return f"{clock} on {moment.day} {moment:%B}, {moment.year}"
