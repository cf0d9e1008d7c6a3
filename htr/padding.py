"""Floor 1: arrays of many sizes -> one array for a batch, in numpy. What is added goes to the end of each axis.

Each kind is padded with a value that it cannot hold itself, so that the padding is known again behind: labels with 0
(the CTC blank), images with PAD = -1, masks with 0, heatmaps with HOLE = -100, one-hot vectors with zeros.
"""

from collections.abc import Sequence

import numpy as np

from htr.images import PAD

HOLE = -100.0


def pad_labels(labels: Sequence, *, value: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """labels, each (length,) of ids -> (batch, longest) int32 padded with `value`, lengths (batch,) int32.

    ValueError where `value` is itself a label: the padding could not be told from it.

    >>> pad_labels([[5, 2], [7]])[0].tolist()
    [[5, 2], [7, 0]]
    """
    arrays = [np.asarray(ids) for ids in labels]
    for row, ids in enumerate(arrays):
        if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
            raise ValueError(f"Labels {row} are {ids.dtype} of shape {ids.shape}: give a list of ids for each word.")
        if (ids == value).any():
            raise ValueError(
                f"Labels {row}, {ids.tolist()}, hold the padding value {value}: choose one that is no label."
            )
    return _stack(arrays, (max(map(len, arrays), default=0),), value, np.int32), _lengths(arrays)


def pad_one_hot(labels: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """labels, each (length, classes) one-hot -> (batch, longest, classes) float32 padded with zero vectors, lengths.

    ValueError where a label is a zero vector itself, or the numbers of classes differ.
    """
    arrays = [np.asarray(vectors, dtype=np.float32) for vectors in labels]
    _same("one-hot labels", arrays, axes=2, equal=1)
    for row, vectors in enumerate(arrays):
        if not vectors.any(axis=1).all():
            raise ValueError(
                f"One-hot labels {row} hold a zero vector, which stands for padding: give each frame a class."
            )
    longest = max(map(len, arrays), default=0)
    return _stack(arrays, (longest, *arrays[0].shape[1:]) if arrays else (0, 0), 0, np.float32), _lengths(arrays)


def pad_images(images: Sequence, *, width: int | None = None, multiple: int = 1, value: float = PAD) -> np.ndarray:
    """images, each (height, width[, channels]) of one height -> (batch, height, width, channels) float32.

    The width is that of the widest, or `width` if given, rounded up to a multiple of `multiple`.
    """
    arrays = _channelled("images", images)
    heights = {array.shape[0] for array in arrays}
    if len(heights) > 1:
        raise ValueError(f"Images of the heights {sorted(heights)} came: bring them to one height, or use pad_pairs.")
    widest = max(array.shape[1] for array in arrays)
    if width is not None and width < widest:
        raise ValueError(f"The widest image has {widest} columns, {width} were asked for: give {widest} or more.")
    columns = -(-(width or widest) // multiple) * multiple
    return _stack(arrays, (arrays[0].shape[0], columns, arrays[0].shape[2]), value, np.float32)


def pad_pairs(images: Sequence, masks: Sequence, *, value: float = PAD) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """images, each (height, width[, channels]), and their masks (height, width[, 1]), padded to one height and width.

    -> images (batch, height, width, channels) float32 with `value` outside, masks (batch, height, width, 1) float32
    with 0 outside, inside (batch, height, width, 1) bool: which pixels are no padding. ValueError where an image and
    its mask differ in size.
    """
    pictures, marks = _channelled("images", images), _channelled("masks", masks)
    if len(pictures) != len(marks):
        raise ValueError(f"{len(pictures)} images came with {len(marks)} masks: give each image its mask.")
    for row, (picture, mark) in enumerate(zip(pictures, marks, strict=True)):
        if mark.shape != (*picture.shape[:2], 1):
            raise ValueError(
                f"Image {row} of shape {picture.shape} came with a mask {mark.shape}: give one of its size."
            )
    size = _largest(pictures)
    inside = [np.ones((*picture.shape[:2], 1), dtype=bool) for picture in pictures]
    return (
        _stack(pictures, (*size, pictures[0].shape[2]), value, np.float32),
        _stack(marks, (*size, 1), 0, np.float32),
        _stack(inside, (*size, 1), False, bool),
    )


def pad_lines(lines: Sequence[Sequence], *, value: float = PAD) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """lines, each a list of word images (height, width[, channels]) -> one array for all.

    -> images (batch, words, height, width, channels) float32 with `value` outside, words (batch, words) bool: which
    words there are, pixels (batch, words, height, width, 1) bool: which pixels are an image's.
    """
    rows = [_channelled("words", line) if len(line) else [] for line in lines]
    words = [word for row in rows for word in row]
    if not words:
        raise ValueError("The lines hold no word: give at least one image.")
    _same("words", words, axes=3, equal=2)
    size, most = _largest(words), max(map(len, rows))
    images = np.full((len(rows), most, *size, words[0].shape[2]), value, dtype=np.float32)
    there, pixels = np.zeros(images.shape[:2], dtype=bool), np.zeros((*images.shape[:4], 1), dtype=bool)
    for line, row in enumerate(rows):
        for place, word in enumerate(row):
            height, width = word.shape[:2]
            images[line, place, :height, :width] = word
            pixels[line, place, :height, :width] = there[line, place] = True
    return images, there, pixels


def pad_heatmaps(heatmaps: Sequence, *, value: float = HOLE) -> np.ndarray:
    """heatmaps, each (height, width[, channels]) -> (batch, height, width, channels) float32, `value` outside.

    `value` may stand inside too, where nothing is known: the losses leave it out all the same.
    """
    arrays = _channelled("heatmaps", heatmaps)
    return _stack(arrays, (*_largest(arrays), arrays[0].shape[2]), value, np.float32)


def _channelled(what: str, arrays: Sequence) -> list[np.ndarray]:
    """Arrays (height, width) or (height, width, channels) -> (height, width, channels), as many channels in each."""
    arrays = [np.asarray(array) for array in arrays]
    if not arrays:
        raise ValueError(f"No {what} came: give at least one.")
    arrays = [array[..., None] if array.ndim == 2 else array for array in arrays]
    _same(what, arrays, axes=3, equal=2)
    return arrays


def _same(what: str, arrays: Sequence[np.ndarray], *, axes: int, equal: int) -> None:
    """ValueError unless every array has that many axes and is as long as the first one along axis `equal`."""
    for row, array in enumerate(arrays):
        if array.ndim != axes or array.shape[equal] != arrays[0].shape[equal]:
            raise ValueError(
                f"The {what} {row} have the shape {array.shape}, the first {arrays[0].shape}: "
                f"give {axes} axes, the last one of the same length."
            )


def _largest(arrays: Sequence[np.ndarray]) -> tuple[int, int]:
    return max(array.shape[0] for array in arrays), max(array.shape[1] for array in arrays)


def _lengths(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(array) for array in arrays], dtype=np.int32)


def _stack(arrays: Sequence[np.ndarray], shape: tuple[int, ...], value, dtype) -> np.ndarray:
    """Arrays no larger than `shape` -> (batch, *shape), each in the first corner of its own."""
    stacked = np.full((len(arrays), *shape), value, dtype=dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return stacked
