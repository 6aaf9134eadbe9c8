"""The servers that the chunk route is compared with, each in processes of its own.

`bare_route()` and `bare_wsgi()` answer the same addresses with the same bytes from memory, run by
gunicorn with our settings: a Flask application of one route, and no framework at all.
`python chunk_servers.py PORT ZARR ENCODING` is `neuroglancer`'s own server of the same array.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Flask, Response


def _chunks() -> dict[str, bytes]:
    chunks: dict[str, bytes] = pickle.loads(Path(os.environ["BARE_CHUNKS"]).read_bytes())
    return chunks


def bare_route() -> Flask:
    app = Flask("bare")
    chunks = _chunks()

    @app.get("/image/<name>/<instance>/<int:level>/<chunk>")
    def send(name: str, instance: str, level: int, chunk: str) -> Response:
        data = chunks[f"/image/{name}/{instance}/{level}/{chunk}"]
        return Response(data, mimetype="application/octet-stream")

    return app


def bare_wsgi() -> Callable[..., Iterable[bytes]]:
    chunks = _chunks()

    def send(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        data = chunks[environ["PATH_INFO"]]
        headers = [
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(len(data))),
        ]
        start_response("200 OK", headers)
        return [data]

    return send


def serve_neuroglancer(port: int, path: str, encoding: str) -> None:
    """Serve a zarr until killed, its chunks at /neuroglancer/<encoding>/bench.<40 zeros>/..."""
    import neuroglancer
    import neuroglancer.chunks
    import neuroglancer.local_volume
    import numpy as np
    import tensorstore as ts

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    array = np.asarray(ts.open(spec).result().read().result())
    if encoding == "raw":
        # As released it calls ndarray.tostring, which numpy has no more, and answers 500.
        neuroglancer.local_volume.encode_raw = lambda voxels: voxels.tobytes("C")
    neuroglancer.set_server_bind_address("127.0.0.1", port)
    viewer = neuroglancer.Viewer(token="bench")
    size = neuroglancer.CoordinateSpace(names=["z", "y", "x"], units="nm", scales=[8, 8, 8])
    volume = neuroglancer.LocalVolume(array, dimensions=size, encoding=encoding)
    volume.token = "0" * 40
    with viewer.txn() as state:
        state.layers["em"] = neuroglancer.ImageLayer(source=volume)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    serve_neuroglancer(int(sys.argv[1]), sys.argv[2], sys.argv[3])
