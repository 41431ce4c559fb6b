"""llama.cpp's own server by the package xllamacpp: `python llama_server.py FOLDER PORT CONTEXT SLOTS [KEY]`.

It ends with the process that started it, whose pipe is its standard input.
"""

from __future__ import annotations

import sys


def main(folder: str, port: str, context: str, slots: str, *keys: str) -> None:
    import xllamacpp

    given = xllamacpp.CommonParams()
    given.model.path, given.mmproj.path = f"{folder}/model.gguf", f"{folder}/mmproj.gguf"
    given.hostnames, given.port = ["127.0.0.1"], int(port)
    given.n_parallel, given.n_ctx = int(slots), int(slots) * int(context)
    given.image_max_tokens = 1024
    given.cpuparams.n_threads = 1
    given.api_keys = list(keys)
    server = xllamacpp.Server(given)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
