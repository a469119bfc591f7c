"""What a worker keeps of earlier calls: functions, and the data that several calls start from."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..image import Image
from ..portable import loads
from .parcels import Item, from_item

MOST_FUNCTIONS = 256
MOST_IMAGES = 8


class Memory:
    """Decoded functions by their digest, and decoded images by their number."""

    def __init__(self) -> None:
        self._functions: OrderedDict[bytes, Callable[[Any], Any]] = OrderedDict()
        self._images: OrderedDict[int, tuple[Image, Item]] = OrderedDict()

    def function(self, digest: bytes, item: Item) -> Callable[[Any], Any]:
        """The function of a digest."""
        function = self._functions.get(digest)
        if function is None:
            function = self._functions[digest] = loads(from_item(item))
            if len(self._functions) > MOST_FUNCTIONS:
                self._functions.popitem(last=False)
        else:
            self._functions.move_to_end(digest)
        return function

    def image(self, number: int, item: Item) -> Image:
        """The image of a number."""
        known = self._images.get(number)
        if known is None:
            known = self._images[number] = (loads(from_item(item)), item)
            if len(self._images) > MOST_IMAGES:
                self._images.popitem(last=False)
        else:
            self._images.move_to_end(number)
        return known[0]

    def forget_removed(self) -> None:
        """Let go of images whose files were removed: nobody will ask for them again."""
        for number, (_, item) in list(self._images.items()):
            if isinstance(item, str) and not os.path.exists(item):  # noqa: PTH110  # once per file
                del self._images[number]
