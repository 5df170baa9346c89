"""An embedding model in memory, through fastembed. Blocking, and dear to import: only the embedding process does.

Other models than the prepared ones are fastembed's, by name: from ``<models>/<name with / as __>`` if it is there, else from
where fastembed keeps or finds them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from fastembed import TextEmbedding
from loguru import logger
from tokenizers import Tokenizer

from engine.embedder.chunker import Span, Token, spans
from engine.embedder.prepare import ModelUnavailable, is_prepared, model_folder
from engine.embedder.settings import PREPARED_MODELS

_PREPARED_PUBLISHED_AS = "sentence-transformers/all-MiniLM-L6-v2"

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)?", re.ASCII)
"""A name becomes a folder's: it must not lead anywhere else."""

_TOKENS_MAX = 512
"""Models that read more get passages of this length all the same: a passage should be about one thing."""

_QUERY_CHARACTERS_MAX = 8192
"""Far more than any model here reads of a query; the rest would only be tokenized to be cut off."""

logger.disable("fastembed")  # it writes to stderr by itself; what matters reaches us as an exception


class Model:
    """A loaded model and its tokenizer. ``embed_*`` belong to one thread, ``spans`` may have another.

    Texts go through the network one by one. In a batch, quantized activations take their range from all its texts: the same
    text would not get the same vector twice, and one tenant's vectors would bear a trace of what another embeds.
    """

    def __init__(self, name: str, embedding: TextEmbedding) -> None:
        self.name = name
        self._embedding = embedding
        # fastembed's own tokenizer truncates and pads; this copy sees every token.
        inner: Any = embedding.model
        truncating: Tokenizer = inner.tokenizer
        self._tokenizer = Tokenizer.from_str(truncating.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        truncation: dict[str, Any] = truncating.truncation or {}
        self.tokens_max = min(int(truncation["max_length"]), _TOKENS_MAX)
        self._special_tokens: int = truncating.num_special_tokens_to_add(is_pair=False)
        self.dimensions = len(self.embed_query(["the first text is slow"])[0]) // 4

    @classmethod
    def load(cls, name: str, models_dir: Path, *, threads: int = 1, here_only: bool = False) -> Self:
        """Return the model called ``name``; with ``here_only`` nothing is fetched for it.

        ``ModelUnavailable`` if it is not there; other errors if there is none of that name or it can't be read.
        """
        if not _NAME.fullmatch(name):
            raise ModelUnavailable("that is no name of a model")
        published, folder = name, models_dir / name.replace("/", "__")
        if name in PREPARED_MODELS:
            published, folder = _PREPARED_PUBLISHED_AS, model_folder(models_dir, name)
            if not is_prepared(models_dir, name):
                raise ModelUnavailable("the embedding model is not there: run `python -m engine.embedder.prepare`")
        options: dict[str, Any] = {"cache_dir": str(models_dir), "local_files_only": here_only}
        if folder.is_dir():
            options = {"specific_model_path": str(folder)}
        return cls(name, TextEmbedding(published, threads=threads, **options))

    def embed_documents(self, texts: list[str]) -> list[bytes]:
        """Return the vector of each passage: little-endian float32 of unit length."""
        return [_packed(vector) for vector in self._embedding.embed(texts, batch_size=1)]

    def embed_query(self, texts: list[str]) -> list[bytes]:
        """Return the vector of each query; some models put another instruction before it than before a passage."""
        starts = [text.strip()[:_QUERY_CHARACTERS_MAX] for text in texts]
        return [_packed(vector) for start in starts for vector in self._embedding.query_embed(start)]

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Return the stretches each of ``texts`` is embedded in, each short enough for the model to read whole."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [
            spans(
                text,
                [Token(*offsets, word) for offsets, word in zip(encoding.offsets, encoding.word_ids, strict=True)],
                tokens_max=self.tokens_max - self._special_tokens,
            )
            for text, encoding in zip(texts, encodings, strict=True)
        ]


def _packed(vector: Any) -> bytes:
    length = float(np.linalg.norm(vector))
    if not length > 0 or not np.isfinite(length):
        raise ValueError("the model gave a vector without a direction")
    return (vector / length).astype("<f4").tobytes()  # type: ignore[no-any-return]
