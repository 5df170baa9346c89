"""Carries files from the outboxes into the object store, each tenant in its order and its turn."""
