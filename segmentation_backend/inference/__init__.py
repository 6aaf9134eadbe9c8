"""From grey values to objects: tiles, maps, grouping, stacks."""
