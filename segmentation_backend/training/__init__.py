"""Training of the networks, reproducible by config and seed."""
