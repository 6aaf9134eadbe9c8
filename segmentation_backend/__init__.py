"""Mitochondria in EM volumes: read, segment, edit and version them, without the web."""
