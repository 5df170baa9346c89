"""A tenant's past in the object store: which files make a state, putting one together, merging files, giving old ones up.

Everything here blocks and works on a ``Tree``; call it from a thread. What the files hold is taken for hostile: engines wrote
them. Nothing here knows of nodes, leases, or who may ask.
"""
