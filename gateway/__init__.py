"""The gateway: the only part that talks HTTP, and the only one that knows keys, plans and money."""
