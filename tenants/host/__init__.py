"""The host: decides which engines run on this node. It asks the fork server; it never touches a database or a key."""
