"""Where peers live: a virtual environment each, and a home folder in which they find the embedding model as if downloaded.

Both stay between runs, outside git. Versions are pinned, and the runtime of the model is the one that this service uses.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.embedder.prepare import TOKENS_MAX, model_folder
from tests.bench.peers.system import Unavailable
from tests.service import MODELS, ROOT

CACHE = ROOT / "var" / "bench" / "peers"
HOME = CACHE / "home"

_LOADS_EXTENSIONS = "import sqlite3; sqlite3.connect(':memory:').enable_load_extension(True)"
_MODEL = "all-MiniLM-L6-v2"
_LAYOUTS = (f".cache/chroma/onnx_models/{_MODEL}/onnx", f".cache/mcp_memory/onnx_models/{_MODEL}/onnx")
"""Below the home folder: where chromadb and mcp-memory-service unpack the model. Neither checks what is there already."""


def runtime() -> list[str]:
    """Return the requirements that make peers run the model with what runs ours."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in ("onnxruntime", "tokenizers")]


def environment(name: str, requirements: Sequence[str], *, overrides: Sequence[str] = (), python: str = sys.executable) -> Path:
    """Return the folder of programs of a virtual environment that has these packages, made now if need be."""
    wanted = "\n".join((python, *requirements, *overrides))
    folder = CACHE / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    made = folder / "made"
    if not made.exists():
        print(f"Installing {' '.join(requirements)} into {folder} (once)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        uv = _said(str(ROOT / "scripts" / "install-uv"))
        _said(uv, "venv", "--quiet", "--python", python, str(folder / "venv"))
        overridden = folder / "overrides.txt"
        overridden.write_text("\n".join(overrides), encoding="utf-8")
        interpreter = str(folder / "venv" / "bin" / "python")
        _said(uv, "pip", "install", "--quiet", "--python", interpreter, "--overrides", str(overridden), *requirements)
        made.touch()
    return folder / "venv" / "bin"


def python_with_extensions() -> str:
    """Return a Python whose sqlite3 loads extensions: many are built without that."""
    for candidate in (sys.executable, "/usr/bin/python3", shutil.which("python3") or ""):
        if Path(candidate).is_file():
            done = subprocess.run([candidate, "-c", _LOADS_EXTENSIONS], capture_output=True, check=False)
            if done.returncode == 0:
                return candidate
    raise Unavailable("no Python here loads SQLite extensions, which its sqlite-vec store needs (Debian: python3)")


def settings() -> dict[str, str]:
    """Return the environment variables of a peer: the path, and a home folder that has the model."""
    for layout in _LAYOUTS:
        _lay_out(HOME / layout)
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(HOME)}


def _lay_out(folder: Path) -> None:
    """Put our model where a peer looks. Its tokenizer doesn't pad: what is padded is work for nothing."""
    source = model_folder(MODELS)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.onnx", "config.json", "special_tokens_map.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    tokenizer = json.loads((source / "tokenizer.json").read_bytes())
    tokenizer["padding"] = None
    tokenizer["truncation"]["max_length"] = TOKENS_MAX
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    words = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"it can't be installed: {' '.join(done.stderr.split())[-500:]}")
    return done.stdout.strip()
