"""The replicator: carries what engines put into their outboxes to an object store. It trusts nothing that an engine wrote."""
