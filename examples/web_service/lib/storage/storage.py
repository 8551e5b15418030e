"""Stores documents, packed, compressed and encrypted, by their fingerprint."""

import sqlite3
from typing import Any

import lz4.frame
import msgpack
import xxhash
from cryptography.fernet import Fernet


class Storage:
    """An in-memory store with its own encryption key."""

    def __init__(self) -> None:
        self._cipher = Fernet(Fernet.generate_key())
        self._database = sqlite3.connect(":memory:")
        self._database.execute("CREATE TABLE documents (fingerprint TEXT PRIMARY KEY, content BLOB)")

    def put(self, document: Any) -> str:
        """Stores a document and returns its fingerprint."""
        packed = msgpack.packb(document)
        fingerprint = xxhash.xxh3_64_hexdigest(packed)
        content = self._cipher.encrypt(lz4.frame.compress(packed))
        self._database.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (fingerprint, content))
        return fingerprint

    def get(self, fingerprint: str) -> Any:
        """Returns the document with this fingerprint."""
        query = "SELECT content FROM documents WHERE fingerprint = ?"
        (content,) = self._database.execute(query, (fingerprint,)).fetchone()
        return msgpack.unpackb(lz4.frame.decompress(self._cipher.decrypt(content)))
