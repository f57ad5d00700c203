"""This module computes where the windows of convolutions and poolings lie on a map."""

from __future__ import annotations

from dataclasses import dataclass

from tledge.importing.onnx_values import Layers, Node


@dataclass(frozen=True)
class Windows:
    """The ``Windows`` of one axis: ``count`` of them, ``size`` wide, begin at ``step * i - before``."""

    length: int
    size: int
    step: int
    before: int
    after: int
    count: int
    beyond: int  # how far the last window reaches past the padding, which ceil_mode allows

    @property
    def is_same(self) -> bool:
        """Tell whether TensorFlow's padding "same" places the windows alike."""
        if self.count != -(-self.length // self.step):
            return False
        return self.before == max((self.count - 1) * self.step + self.size - self.length, 0) // 2

    @property
    def is_valid(self) -> bool:
        """Tell whether all windows lie inside of the map."""
        return self.before == 0 and self.reach <= self.length

    @property
    def reach(self) -> int:
        """Return where the last window ends."""
        return (self.count - 1) * self.step + self.size - self.before

    @property
    def is_centred(self) -> bool:
        """Tell whether window i is centred on the pixel ``step * i``, and every such pixel has its window."""
        return self.size % 2 == 1 and self.before == self.size // 2 and self.count == -(-self.length // self.step)


def windows(node: Node, sizes: tuple[int, ...], height: int, width: int) -> tuple[Windows, Windows]:
    """Return the windows of the rows and of the columns. ``sizes`` are those of the kernel with its dilation."""
    attributes = node.attributes
    steps = attributes.get("strides", [1, 1])
    pads = attributes.get("pads", [0, 0, 0, 0])
    mode = attributes.get("auto_pad", "NOTSET")
    if len(sizes) != 2 or len(steps) != 2 or len(pads) != 4:
        raise node.unknown("works on other than two axes")
    if min(pads) < 0 or min(steps) < 1 or min(sizes) < 1:
        raise node.unknown("has pads below 0 or strides below 1")
    found = []
    for axis, length in enumerate((height, width)):
        size, step, before, after = sizes[axis], steps[axis], pads[axis], pads[axis + 2]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-length // step) - 1) * step + size - length, 0)
            before = total // 2 if mode == "SAME_UPPER" else -(-total // 2)
            after = total - before
        elif mode == "VALID":
            before = after = 0
        room = length + before + after - size
        if room < 0:
            raise node.unknown(f"has a window of {size} on {length} pixels")
        count = room // step + 1
        # Like PyTorch, ONNX Runtime gives no window that would begin in the padding behind the map.
        if attributes.get("ceil_mode") and room % step and count * step < length + before:
            count += 1
        beyond = max((count - 1) * step + size - before - length - after, 0)
        found.append(Windows(length, size, step, before, after, count, beyond))
    return found[0], found[1]


def padded(node: Node, layers: Layers, layer: str, rows: Windows, columns: Windows) -> str:
    """Return a layer with zeros around it, so that all windows lie inside."""
    # What lies behind the last window is left off as well as can be: no window reads it.
    pads = [[one.before, max(one.reach - one.length, 0)] for one in (rows, columns)]
    if pads == [[0, 0], [0, 0]]:
        return layer
    return layers.add(f"{node.name}_pad", "ZeroPadding2D", layer, padding=pads)
