"""The tenant's database: one module per noun, SQL in named queries, no knowledge of sockets or of tools.

Times are microseconds since 1970 in UTC. Functions of the noun modules run inside a transaction that ``Database`` opened.
"""
