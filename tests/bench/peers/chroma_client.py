"""Asks a Chroma server through Chroma's own client. Run by the Python of its environment: it knows nothing of this service.

An order is a line of JSON on standard input, ``{"work": "search" | "write", "texts", "clients", "seconds", "limit"}``; its
answer is a line on standard output, ``{"times_ms", "seconds"}``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from typing import Any

import chromadb
from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2


def main() -> None:
    """Carry out orders until standard input ends. The collection is there by the first."""
    port, name = sys.argv[1:]
    client = chromadb.HttpClient(host="localhost", port=int(port))
    # What is used when one says nothing makes one of these, and so loads the model, for every text.
    embed = ONNXMiniLM_L6_V2()
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_run(client.get_collection(name, embedding_function=embed), order)), flush=True)


def _run(collection: chromadb.Collection, order: dict[str, Any]) -> dict[str, Any]:
    texts = iter(order["texts"])
    taking = threading.Lock()
    times_ms: list[float] = []
    failed: list[str] = []
    began = time.perf_counter()

    def ask() -> None:
        while (asked := time.perf_counter()) < began + order["seconds"]:
            with taking:
                text = next(texts)
            try:
                if order["work"] == "search":
                    assert collection.query(query_texts=[text], n_results=order["limit"])["documents"][0]
                else:
                    collection.add(ids=[str(uuid.uuid4())], documents=[text], metadatas=[{"session": "written"}])
            except Exception as error:
                failed.append(repr(error))
                return
            times_ms.append((time.perf_counter() - asked) * 1000)

    threads = [threading.Thread(target=ask) for _ in range(order["clients"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(failed[0])
    return {"times_ms": times_ms, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main()
