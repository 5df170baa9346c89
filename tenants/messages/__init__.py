"""What host and replicator are asked, and answer. Apart from both, because each asks the other."""
