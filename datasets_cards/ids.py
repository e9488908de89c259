"""Which ids were seen, at 12 bytes a slot of one hash table instead of a Python object each."""

from __future__ import annotations

from array import array
from hashlib import blake2b


class IdTable:
    """A map from ids to small numbers, for as many ids as there are rows.

    It holds 64-bit hashes (open addressing, linear probing), not the ids: two different ids of n take each other's
    place with probability n^2 / 2^65, which is 3e-8 for a million and 3e-4 for a hundred million.
    """

    def __init__(self) -> None:
        self._used = 0
        self._allocate(1024)

    def _allocate(self, slots: int) -> None:
        self._keys, self._numbers = array("Q", bytes(8 * slots)), array("I", bytes(4 * slots))

    def _slot(self, key: int) -> int:
        """Where a key lies, or the free slot that it would take."""
        keys = self._keys
        mask = len(keys) - 1
        slot = key & mask
        while keys[slot] and keys[slot] != key:
            slot = (slot + 1) & mask
        return slot

    def swap(self, id_: str, number: int) -> int:
        """Remember a number from 1 up to 2^32 - 1 for an id, and return the one it had before, or 0."""
        key = (
            int.from_bytes(blake2b(id_.encode(errors="surrogatepass"), digest_size=8).digest()) or 1
        )  # 0 marks a free slot
        slot = self._slot(key)
        before = self._numbers[slot]
        self._keys[slot], self._numbers[slot] = key, number
        if not before:
            self._used += 1
            if 3 * self._used > 2 * len(self._keys):
                self._grow()
        return before

    def _grow(self) -> None:
        keys, numbers = self._keys, self._numbers
        self._allocate(2 * len(keys))
        for key, number in zip(keys, numbers, strict=True):
            if key:
                slot = self._slot(key)
                self._keys[slot], self._numbers[slot] = key, number
