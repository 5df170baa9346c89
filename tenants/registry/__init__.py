"""The control plane: organizations, their databases, people and keys. Only the gateway opens it."""
