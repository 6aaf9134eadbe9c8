"""The web: HTTP in, backend calls, Neuroglancer out."""
