"""Long conversations as an export file, and questions whose evidence is known.

LoCoMo's own text lies outside the checkout: where ``ENGRAM_LOCOMO`` says, or beside the checkout. Without it, conversations of
the same shape are generated (``tests.locomo.generated``).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.locomo import generated
from tests.service import ROOT

_TURN = re.compile(r"D\d+:\d+")
_BESIDE = ROOT.parent / "shared" / "data" / "locomo-dev.json"


@dataclass(frozen=True)
class Question:
    """What to ask in which conversation, and the memories that hold the answer."""

    text: str
    workspace: str
    evidence: frozenset[int]
    category: int = 0
    """LoCoMo's: 1 several turns, 2 time, 3 knowledge of the world, 4 one turn, 5 unanswerable. 0: none is given."""


@dataclass
class Corpus:
    """An export of all turns, and what to ask."""

    name: str
    memories: list[dict[str, Any]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def session(self, memory_id: int) -> str:
        """Return the session that a memory is from, unique in its workspace."""
        session: str = self.memories[memory_id - 1]["metadata"]["session"]
        return session

    def write(self, path: Path) -> None:
        """Write Engram's export format, version 1.0."""
        export = {
            "version": "1.0",
            "exported_at": "2025-01-01T00:00:00.000000Z",
            "memory_count": len(self.memories),
            "memories": self.memories,
        }
        path.write_text(json.dumps(export), encoding="utf-8")


def load() -> Corpus:
    """Return LoCoMo where it is to be had, else the generated corpus."""
    path = Path(os.environ.get("ENGRAM_LOCOMO") or _BESIDE)
    if path.is_file():
        return from_conversations("locomo", json.loads(path.read_text(encoding="utf-8")))
    return from_conversations("generated", generated.conversations())


def from_conversations(name: str, samples: list[dict[str, Any]]) -> Corpus:
    """Return the corpus of conversations in LoCoMo's form. Questions without evidence that can be found are left out."""
    corpus = Corpus(name)
    for sample in samples:
        ids = _add_turns(corpus, sample["sample_id"], sample["conversation"])
        for question in sample["qa"]:
            named = _TURN.findall(" ".join(question["evidence"]))
            evidence = frozenset(ids[turn] for turn in named if turn in ids)
            if evidence:
                category = question.get("category", 0)
                corpus.questions.append(Question(question["question"], sample["sample_id"], evidence, category))
    return corpus


def _add_turns(corpus: Corpus, workspace: str, conversation: dict[str, Any]) -> dict[str, int]:
    """Add a memory per turn and return their ids by the turns' names."""
    ids: dict[str, int] = {}
    for session, turns in conversation.items():
        if not isinstance(turns, list):
            continue
        began = _moment(conversation[f"{session}_date_time"])
        for position, turn in enumerate(turns):
            memory_id = ids[turn["dia_id"]] = len(corpus.memories) + 1
            created_at = _text(began + timedelta(seconds=position))
            corpus.memories.append(
                {
                    "id": memory_id,
                    "content": f"{turn['speaker']}: {turn['text']}",
                    "memory_type": "note",
                    "tags": [],
                    "metadata": {"conversation": workspace, "session": session, "dia_id": turn["dia_id"]},
                    "importance": 0.5,
                    "workspace": workspace,
                    "scope_type": "global",
                    "scope_id": None,
                    "tier": "permanent",
                    "created_at": created_at,
                    "updated_at": created_at,
                    "engram_cloud": {"event_time": _text(began)},
                }
            )
    return ids


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
