"""Brings databases back from the object store, for an empty disk or to an earlier moment. Opens none of them."""
