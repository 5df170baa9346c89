"""One node on this machine: its folder, its lock, and the supervisor that keeps its programs running."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.protocol.processes import ISOLATION_LEVELS, Isolation
from gateway.settings import GatewaySettings
from tenants.messages.replica import STAGING

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP_S = 80.0
"""A little more than the supervisor gives its programs one after another."""

_LOG_BYTES_MAX = 50_000_000

_SECRET_PREFIXES = ("ENGRAM_", "AWS_", "OTEL_")
"""What the model's preparation has no use for, keys and credentials among it."""

_FOLDERS = ("run", "run/engines", "spool", "log", "models", STAGING, "replication")
"""The tenants' are the fork server's to make: it gives each to a user of its own."""

_NODE_NAME_BYTES = 16

_DEFAULTS = {
    "ENGRAM_ENGINE_MEMORY_MAX_MB": "1024",
    "ENGRAM_ENGINE_IDLE_SECONDS": "300",
    "ENGRAM_ENGINES_MEMORY_MAX_MB": "",
    "ENGRAM_DISK_RESERVE_MB": "",
    "ENGRAM_EMBEDDING_MODEL": "all-MiniLM-L6-v2+int8",
    "HF_HUB_OFFLINE": "0",
}
"""What the supervisor's configuration names and the environment may leave out."""


class CannotStart(Exception):
    """The node can't be started; the message is one line that says why and what to do."""


class Node:
    """A node's folder, locked by this process, and its supervisor."""

    def __init__(self, settings: GatewaySettings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._folder = settings.data_folder
        self._models_folder = Path(environment.get("ENGRAM_MODELS_DIR") or self._folder / "models").resolve()
        self._environment = (
            _DEFAULTS
            | dict(environment)
            | {
                "ENGRAM_DATA_DIR": str(self._folder),
                "ENGRAM_MODELS_DIR": str(self._models_folder),
                "ENGRAM_PYTHON": sys.executable,
                "ENGRAM_REPLICA_URL": settings.replica_url,
                "ENGRAM_CAPTURE": "1" if settings.replicating else "0",
                "ENGRAM_USER": environment.get("ENGRAM_USER") or _own_name(),
                "ENGRAM_ISOLATION": environment.get("ENGRAM_ISOLATION") or ("full" if settings.production else "process"),
                "ENGRAM_FORK_SERVER_USER": _own_name(),
            }
        )
        self._lock: int | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """Where the programs' log lines go."""
        return self._folder / "log" / "engram.log"

    def claim(self) -> None:
        """Make the folder and take its lock; ``CannotStart`` if another node has the folder or the port."""
        try:
            if set('"\\\n') & set(str(self._folder)):
                raise CannotStart(f"The folder {self._folder} has a quotation mark, a backslash or a line break in its name.")
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(f"The folder {self._folder} can't be written: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            message = f"The folder {self._folder} is in use by another engram up (process {other or 'unknown'})."
            raise CannotStart(message) from None
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self._check_isolation()
        self._check_port()
        self._make_folders()

    def prepare_model(self) -> bool:
        """Make the embedding model if it is not there, showing the steps; whether it is there now."""
        model = self._environment["ENGRAM_EMBEDDING_MODEL"] or _DEFAULTS["ENGRAM_EMBEDDING_MODEL"]
        command = [sys.executable, "-P", "-m", "engine.embedder.prepare", "--models-dir", str(self._models_folder)]
        command += ["--model", model]
        environment = {name: value for name, value in self._environment.items() if not name.startswith(_SECRET_PREFIXES)}
        return subprocess.run(command, env=environment, check=False).returncode == 0  # noqa: S603

    def start(self, *, log_to_terminal: bool) -> None:
        """Start the supervisor and with it all programs."""
        with contextlib.ExitStack() as stack:
            output = None if log_to_terminal else stack.enter_context(self._open_log())
            # In a session of its own: a Ctrl-C in the terminal reaches us alone, and we end things in their order.
            self._supervisor = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "gateway.supervision", "-n", "-c", str(_configuration())],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  this process has no other thread
                cwd="/",
            )

    def running(self) -> bool:
        """Whether the supervisor lives."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def stop(self) -> None:
        """End all programs in their order and wait for it."""
        if self._supervisor is None:
            return
        if self._supervisor.poll() is None:
            self._supervisor.send_signal(signal.SIGTERM)
            try:
                self._supervisor.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._supervisor.kill()
                self._supervisor.wait()

    def _open_log(self) -> contextlib.AbstractContextManager[int]:
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        return _Closing(descriptor)

    def _check_isolation(self) -> None:
        """``CannotStart`` if this machine confines engines less than it should."""
        if self._settings.production and os.geteuid() == 0 and self._environment["ENGRAM_USER"] == _own_name():
            raise CannotStart("ENGRAM_ENV=production, started by root, needs ENGRAM_USER: whom the programs run as.")
        wanted = self._environment["ENGRAM_ISOLATION"]
        if wanted == ISOLATION_LEVELS[0]:
            return
        command = [sys.executable, "-P", "-m", "engine.sandbox"]
        answer = subprocess.run(command, env={"PYTHONUTF8": "1"}, capture_output=True, check=True)  # noqa: S603
        isolation = msgspec.json.decode(answer.stdout, type=Isolation)
        if ISOLATION_LEVELS.index(isolation.level) < ISOLATION_LEVELS.index(wanted):
            missing = "; ".join(f"{layer}: {why}" for layer, why in isolation.layers.items() if why)
            message = f"Engines would be confined at level {isolation.level}, not {wanted}, for want of {missing}."
            raise CannotStart(f"{message} ENGRAM_ISOLATION={isolation.level} accepts that.")

    def _check_port(self) -> None:
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that is only lingering is free
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError as error:
                message = f"Port {port} on {host} can't be used: {error.strerror}. Set ENGRAM_PORT to another one."
                raise CannotStart(message) from error

    def _make_folders(self) -> None:
        try:
            for name in self._folders():
                (self._folder / name).mkdir(mode=0o700, exist_ok=True)
            for stale in (*self._folder.glob("run/*.sock"), *self._folder.glob("run/engines/*.sock")):
                stale.unlink(missing_ok=True)
            user = self._environment["ENGRAM_USER"]
            self._name_node(pwd.getpwnam(user))
            if user != pwd.getpwuid(os.geteuid()).pw_name:
                self._give_to(user)
        except KeyError as error:
            raise CannotStart(f"There is no user {self._environment['ENGRAM_USER']} on this machine.") from error
        except OSError as error:
            raise CannotStart(f"The folder {self._folder} can't be prepared: {error}.") from error

    def _folders(self) -> tuple[str, ...]:
        backups = self._settings.replica_folder
        return (*_FOLDERS, backups.name) if self._settings.replica_url == backups.as_uri() else _FOLDERS

    def _name_node(self, user: pwd.struct_passwd) -> None:
        """Write down what this node is called at the object store from now until it ends: never what any was called before.

        The folder is the user's, who may have put anything there: nothing is followed and nothing is overwritten.
        """
        with _Closing(os.open(self._folder / "run", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink("node", dir_fd=folder)
            created = os.open("node", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
            with _Closing(created) as file:
                os.write(file, secrets.token_hex(_NODE_NAME_BYTES).encode())
                os.fchown(file, user.pw_uid, user.pw_gid)

    def _give_to(self, user: str) -> None:
        """Give the user that the programs run as what they need."""
        account = pwd.getpwnam(user)
        try:
            subprocess.run(
                [sys.executable, "-P", "-c", "import gateway.main"],
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"The user {user} can't run {sys.executable}: it, or a folder above it, is closed to others."
            raise CannotStart(message) from error
        # They make files beside ours and can't replace ours, which root writes to: that is what the sticky bit is for.
        os.chown(self._folder, os.geteuid(), account.pw_gid)
        self._folder.chmod(0o1770)
        for name in self._folders():
            owner = os.geteuid() if name == "log" else account.pw_uid
            os.chown(self._folder / name, owner, account.pw_gid, follow_symlinks=False)


class _Closing:
    """A file descriptor as a context manager."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)


def _own_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _configuration() -> Path:
    """Return the supervisor's configuration: beside us in a wheel, in ``infra/`` in a checkout."""
    packaged = Path(__file__).with_name("supervisord.conf")
    return packaged if packaged.exists() else Path(__file__).parent.parent / "infra" / "supervisord.conf"


def _end_with_parent() -> None:
    """In the forked child: when ``engram up`` is killed, the supervisor gets SIGTERM and ends everything in order.

    It also inherits, and reaps, the engines of a fork server that was killed; nobody else would where we are process 1.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
