"""The embedding process: texts in, passages with their vectors out. It keeps no tenant's state, and no cache at all.

Other processes import ``engine.embedder.client`` alone, which loads neither the model nor what runs it.
"""
