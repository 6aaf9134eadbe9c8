"""How large the chunks of hostile arrays say that they are, and what they unpack to."""

from segmentation_backend.geometry import Roi

MB = 2**20
SIDE = 64
CHUNK = SIDE**3
WHOLE = (SIDE,) * 3
BOX = Roi((0, 0, 0), (8, 8, 8))
BOMB = 160 * MB
