"""Label Studio's run-length code of brush strokes: a stream of bits, row by row, four equal channels for each pixel.

The header has 53 bits: number of values (32), bits of a value - 1 (5), then four sizes of run lengths, each - 1 (4 bits
each). Each block: whether one value is repeated (1), index of the size (2), length - 1 (as many bits as the size), and
the value, or all values.

Source: the layout of thi.ng/rle-pack, which Label Studio's browser code reads; the sizes 3, 4, 8, 16 as
label-studio-converter writes them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_NUM_CHANNELS = 4
_VALUE_BITS = 8
_LENGTH_BITS = np.array([3, 4, 8, 16])
_LONGEST = 1 << 16


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask, bool, shape (H, W), as the list of bytes in Label Studio's JSON."""
    num_values = mask.size * _NUM_CHANNELS
    pixels = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    lengths = np.diff(starts, append=pixels.size) * _NUM_CHANNELS
    # A run that is too long for one block becomes full blocks and a remainder, which is never empty.
    num_full = (lengths - 1) // _LONGEST
    values = np.repeat(pixels[starts].astype(np.int64) * 255, num_full + 1)
    blocks = np.full(len(values), _LONGEST)
    blocks[np.cumsum(num_full + 1) - 1] = lengths - num_full * _LONGEST
    size_index = np.searchsorted(1 << _LENGTH_BITS, blocks)
    num_length_bits = _LENGTH_BITS[size_index]
    codes = (((4 | size_index) << num_length_bits | (blocks - 1)) << _VALUE_BITS) | values
    num_bits = 3 + num_length_bits + _VALUE_BITS
    head = [(num_values, 32), (_VALUE_BITS - 1, 5), *((int(size) - 1, 4) for size in _LENGTH_BITS)]
    head_codes, head_bits = np.array(head).T
    return _pack(np.concatenate([head_codes, codes]), np.concatenate([head_bits, num_bits]))


def decode_brush(data: Sequence[int], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode to a mask, bool, shape `size_hw`; a pixel is set if its last channel is not 0.

    Raises:
        ValueError: The code is incomplete, or of an image of another size.
    """
    height, width = size_hw
    take = _BitReader(bytes(data)).take
    num_values = take(32)
    if num_values != height * width * _NUM_CHANNELS:
        raise ValueError(f"the run-length code has {num_values:,} values, expected 4 x {height} x {width}")
    value_bits = take(5) + 1
    length_bits = [take(4) + 1 for _ in range(4)]
    values = np.zeros(num_values, dtype=np.bool_)
    done = 0
    while done < num_values:
        is_run = take(1)
        stop = done + take(length_bits[take(2)]) + 1
        if is_run:
            values[done:stop] = take(value_bits) > 0
        else:
            for index in range(done, min(stop, num_values)):
                values[index] = take(value_bits) > 0
        done = stop
    return values.reshape(height, width, _NUM_CHANNELS)[:, :, -1]


class _BitReader:
    """Read numbers from a stream of bits, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, num_bits: int) -> int:
        stop = self._position + num_bits
        if stop > 8 * len(self._data):
            raise ValueError("the run-length code breaks off")
        window = int.from_bytes(self._data[self._position // 8 : -(-stop // 8)])
        self._position = stop
        return window >> -stop % 8 & (1 << num_bits) - 1


def _pack(codes: NDArray[np.int64], num_bits: NDArray[np.int64]) -> list[int]:
    """Write codes of different lengths one after the other, the highest bit first; the last byte is filled with 0."""
    starts = np.cumsum(num_bits) - num_bits
    bits = np.zeros(int(num_bits.sum()), dtype=np.uint8)
    for bit in range(int(num_bits.max())):
        has_bit = num_bits > bit
        bits[starts[has_bit] + bit] = codes[has_bit] >> (num_bits[has_bit] - 1 - bit) & 1
    packed: list[int] = np.packbits(bits).tolist()
    return packed
