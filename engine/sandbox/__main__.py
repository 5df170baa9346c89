"""Prints, as one JSON object, how this machine would confine engines: ``python -m engine.sandbox``. Run it as who starts the
node."""

from __future__ import annotations

import sys

import msgspec

from engine.sandbox.confinement import find_out
from engine.sandbox.users import service_of

if __name__ == "__main__":
    _, isolation = find_out(own_users=service_of(None) is not None)
    sys.stdout.buffer.write(msgspec.json.encode(isolation) + b"\n")
