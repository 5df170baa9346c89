"""Attacks on the box around an engine, and tests of what the box is made of."""
