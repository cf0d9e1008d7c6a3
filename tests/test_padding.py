import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htr.padding import HOLE, pad_heatmaps, pad_images, pad_labels, pad_lines, pad_one_hot, pad_pairs


def test_labels_are_padded_behind_and_lengths_come_back():
    labels, lengths = pad_labels([[5, 2, 9], [7], []])
    assert labels.tolist() == [[5, 2, 9], [7, 0, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 1, 0]
    assert labels.dtype == lengths.dtype == np.int32


@given(st.lists(st.lists(st.integers(1, 99), max_size=9), max_size=9))
def test_labels_come_back_by_their_lengths(labels):
    padded, lengths = pad_labels(labels)
    assert [row[:length].tolist() for row, length in zip(padded, lengths, strict=True)] == labels
    assert (padded == 0).sum() == padded.size - sum(map(len, labels))


def test_a_label_that_equals_the_padding_is_refused():
    with pytest.raises(ValueError, match=r"Labels 1, \[4, 0\], hold the padding value 0"):
        pad_labels([[1], [4, 0]])
    assert pad_labels([[1], [4, 0]], value=-1)[0].tolist() == [[1, -1], [4, 0]]


@pytest.mark.parametrize("labels", [[[1.5]], ["ab"], [[[1]]]])
def test_labels_that_are_no_ids_are_refused(labels):
    with pytest.raises(ValueError, match="give a list of ids"):
        pad_labels(labels)


def test_one_hot_labels_are_padded_with_zero_vectors():
    labels, lengths = pad_one_hot([[[0, 1], [1, 0]], [[1, 0]]])
    assert labels.tolist() == [[[0, 1], [1, 0]], [[1, 0], [0, 0]]]
    assert lengths.tolist() == [2, 1]
    with pytest.raises(ValueError, match="One-hot labels 1 hold a zero vector"):
        pad_one_hot([[[0, 1]], [[0, 0]]])
    with pytest.raises(ValueError, match="the last one of the same length"):
        pad_one_hot([[[0, 1]], [[0, 1, 0]]])


def test_images_are_padded_to_the_widest_or_to_a_width():
    images = [np.ones((2, 3)), np.zeros((2, 1))]
    assert pad_images(images)[..., 0].tolist() == [[[1, 1, 1]] * 2, [[0, -1, -1]] * 2]
    assert pad_images(images, width=5).shape == (2, 2, 5, 1)
    assert pad_images(images, multiple=4).shape == (2, 2, 4, 1)
    assert pad_images(images, width=5, multiple=4).shape == (2, 2, 8, 1)
    assert pad_images([np.ones((2, 3, 3))]).shape == (1, 2, 3, 3)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="The widest image has 3 columns, 2 were asked for"):
        pad_images([np.ones((2, 3))], width=2)
    with pytest.raises(ValueError, match=r"heights \[2, 4\]"):
        pad_images([np.ones((2, 3)), np.ones((4, 3))])
    with pytest.raises(ValueError, match="No images came"):
        pad_images([])


def test_images_and_masks_are_padded_together_in_height_and_width():
    images = [np.full((1, 3, 3), 0.5), np.full((2, 1, 3), 0.25)]
    masks = [np.array([[1, 0, 1]]), np.array([[True], [True]])]
    padded, marks, inside = pad_pairs(images, masks)
    assert padded.shape == (2, 2, 3, 3) and marks.shape == inside.shape == (2, 2, 3, 1)
    assert padded[..., 0].tolist() == [[[0.5] * 3, [-1] * 3], [[0.25, -1, -1], [0.25, -1, -1]]]
    assert marks[..., 0].tolist() == [[[1, 0, 1], [0, 0, 0]], [[1, 0, 0], [1, 0, 0]]]
    assert inside[..., 0].tolist() == [[[True] * 3, [False] * 3], [[True, False, False], [True, False, False]]]


def test_an_image_and_a_mask_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"Image 0 of shape \(2, 3, 1\) came with a mask \(3, 2, 1\)"):
        pad_pairs([np.ones((2, 3))], [np.ones((3, 2))])
    with pytest.raises(ValueError, match="1 images came with 2 masks"):
        pad_pairs([np.ones((2, 3))], [np.ones((2, 3))] * 2)


def test_lines_of_words_become_one_array_with_two_masks():
    images, words, pixels = pad_lines([[np.full((2, 3), 0.5)], [], [np.full((1, 1), 0.25), np.zeros((2, 2))]])
    assert images.shape == (3, 2, 2, 3, 1) and pixels.shape == images.shape
    assert words.tolist() == [[True, False], [False, False], [True, True]]
    assert images[2, 0, ..., 0].tolist() == [[0.25, -1, -1], [-1, -1, -1]]
    assert pixels.sum(axis=(2, 3, 4)).tolist() == [[6, 0], [0, 0], [1, 4]]
    assert (images[~pixels] == -1).all() and (images[pixels] >= 0).all()
    with pytest.raises(ValueError, match="The lines hold no word"):
        pad_lines([[], []])


def test_heatmaps_are_padded_with_a_value_of_their_own():
    padded = pad_heatmaps([[[1.0, 2.0]], [[3.0], [4.0]]])
    assert padded[..., 0].tolist() == [[[1, 2], [HOLE, HOLE]], [[3, HOLE], [4, HOLE]]]
    assert HOLE == -100
    assert np.isnan(pad_heatmaps([[[1.0]], [[3.0, 4.0]]], value=np.nan)[0, 0, 1, 0])
