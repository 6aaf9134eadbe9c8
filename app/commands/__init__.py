"""The commands of `mitoglance`, one module each: `add(subparsers)` declares, `run(args)` does."""
