"""Measurements of the running service, each beside a baseline of the same run. No tests: a figure never fails anything."""
