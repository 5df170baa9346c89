"""The Model Context Protocol, stateless, over HTTP with a key. Our own small core; the tools are the catalogue's."""
