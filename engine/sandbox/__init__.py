"""The kernel-enforced box around each engine, and what of it this machine offers."""

from engine.sandbox.confinement import Box, Confinement, find_out

__all__ = ["Box", "Confinement", "find_out"]
