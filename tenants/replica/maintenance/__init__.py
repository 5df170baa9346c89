"""Looks after histories in the object store: merged, proven by restoring them, and given up when they are too old."""
