"""What the embedding process is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEFAULT_MODEL = "all-MiniLM-L6-v2+int8"
"""Half the time of the next, a quarter of its size. The name is stored beside every vector: another recipe, another name."""

FLOAT_MODEL = "all-MiniLM-L6-v2+float32"
"""The same weights as they were published."""

PREPARED_MODELS = (DEFAULT_MODEL, FLOAT_MODEL)
"""What ``engine.embedder.prepare`` makes; it needs no model hub."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of the process, with its default."""

    data_dir: Path
    """``ENGRAM_DATA_DIR`` (./var): the node's data."""

    models_dir: Path
    """``ENGRAM_MODELS_DIR`` (``models`` in the data folder): one folder per model."""

    model: str
    """``ENGRAM_EMBEDDING_MODEL``: one of ``PREPARED_MODELS``, or any that fastembed lists by name."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Return the settings that ``environment`` states; an empty variable counts as absent."""
        data_dir = Path(environment.get("ENGRAM_DATA_DIR") or "./var").absolute()
        models_dir = environment.get("ENGRAM_MODELS_DIR")
        return cls(
            data_dir=data_dir,
            models_dir=Path(models_dir).absolute() if models_dir else data_dir / "models",
            model=environment.get("ENGRAM_EMBEDDING_MODEL") or DEFAULT_MODEL,
        )

    @property
    def socket(self) -> Path:
        """Where the process listens."""
        return self.data_dir / "run" / "embed.sock"
