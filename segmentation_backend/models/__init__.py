"""Networks, their weights, and the list of those one can choose."""
