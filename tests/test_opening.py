"""Many images opened in processes of their own: the same ink as in this one, whatever becomes of the processes."""

import io
import os

import numpy as np
import pytest

from htr import images, opening
from htr.images import ImageError, NotYetError, to_ink
from htr.opening import Opener
from htr.workers import Worker
from tests.conftest import WORDS, render_word

HEIGHT = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """More than MANY images in every form, every 50th of them none."""
    folder, every = tmp_path_factory.mktemp("images"), []
    for i, word in enumerate(WORDS):
        path = folder / f"{word} {i}.png"
        render_word(word, size=20 + i).save(path)
        every += [path, str(path), path.read_bytes(), {"bytes": path.read_bytes(), "path": path.name}]
    some = [every[i % len(every)] for i in range(opening.MANY + 70)]
    some[::50] = [folder / f"missing {i}.png" for i in range(len(some[::50]))]
    return some


def same(ours, theirs) -> bool:
    if isinstance(theirs, ImageError):
        return isinstance(ours, ImageError) and str(ours) == str(theirs)
    return (ours.left, ours.scale) == (theirs.left, theirs.scale) and np.array_equal(ours.pixels, theirs.pixels)


def alone(image):
    try:
        return to_ink(image, HEIGHT)
    except ImageError as error:
        return error


@pytest.fixture
def opener():
    opener = Opener(HEIGHT, 2)
    yield opener
    opener.close()


def test_processes_open_what_this_one_opens(opener, files):
    found = opener.submit(files).result()
    assert opener._workers
    expected = [alone(image) for image in files]
    assert sum(isinstance(ink, ImageError) for ink in found) == len(files[::50])
    assert all(same(*pair) for pair in zip(found, expected, strict=True))
    assert all(same(*pair) for pair in zip(opener.submit(files[:3]).result(), expected[:3], strict=True))


def test_a_killed_process_loses_nothing(opener, files):
    window = opener.submit(files)
    opener._workers[0]._process.kill()  # as the kernel does when memory runs out
    assert all(same(ink, alone(image)) for ink, image in zip(window.result(), files, strict=True))


@pytest.mark.parametrize("count", [10, opening.MANY])
def test_few_images_and_such_as_no_pipe_takes_are_opened_here(opener, files, count):
    some = files[:count] if count < opening.MANY else [render_word("here"), *files[:count]]
    found = opener.submit(some).result()
    assert not opener._workers
    assert all(same(ink, alone(image)) for ink, image in zip(found, some, strict=True))


def test_large_images_wait_for_their_turn_here(opener, files, monkeypatch):
    """However many processes there are, one image at a time needs the memory of a large one."""
    picture = io.BytesIO()
    render_word("large").resize((5000, 3300)).save(picture, "PNG", compress_level=1)
    assert 5000 * 3300 > images.LARGE
    with pytest.raises(NotYetError):
        to_ink(picture.getvalue(), HEIGHT, patient=False)
    some = [*files[1:49], picture.getvalue(), *files[: opening.MANY]]
    task = opening.Task([picture.getvalue()], HEIGHT)
    assert opening.open_task(task) == [None]
    found = opener.submit(some).result()
    assert opener._workers and same(found[48], to_ink(picture.getvalue(), HEIGHT))


def test_processes_end_with_the_opener(files):
    opener = Opener(HEIGHT, 2)
    opener.submit(files)
    processes = [worker._process for worker in opener._workers]
    opener.close()
    opener.close()
    assert all(process.poll() is not None for process in processes)
    assert all(not os.path.exists(f"/proc/{process.pid}") for process in processes)


def test_what_fails_in_a_process_fails_here_and_says_nothing_there(capfd):
    worker = Worker(opening.open_task)
    try:
        with pytest.raises(AttributeError):
            worker.submit(3).result()
        assert worker.submit(opening.Task([np.zeros((3, 3), bool)], HEIGHT)).result()[0].blank
    finally:
        worker.close()
    assert capfd.readouterr() == ("", "")
