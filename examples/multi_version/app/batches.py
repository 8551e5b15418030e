"""Divides sequences into batches, with the standard library if it can."""

import sys

if sys.version_info >= (3, 12):
    from itertools import batched
else:
    from itertools import islice

    def batched(iterable, n):
        """Yields tuples of up to `n` items."""
        iterator = iter(iterable)
        while True:
            batch = tuple(islice(iterator, n))
            if not batch:
                return
            yield batch


__all__ = ["batched"]
