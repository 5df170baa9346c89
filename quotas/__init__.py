"""What a plan allows, and keeping to it at the door. Knows plans and clocks; no HTTP, no money."""
