"""Searches and writes of this service beside those of other memory stores: same machine, memories, model and client, in turns.

A peer is measured in what it does by itself when its documentation is followed; where a setting can only make it faster, it has
it. What a peer can't do is said in the table instead of measured as something else.
"""
