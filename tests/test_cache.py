"""The cache: what it gives is what decoding gives, bad rows too; stale ones go, damaged ones are written anew."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from htr import cache as caches
from htr import cli, samples
from htr.batches import Batches, read_words
from htr.cache import Cache, Inks
from htr.charset import Charset
from tests.toy import toy_dataset


def spoiled_dataset():
    """Twelve rows: one without text, one that is no image, one without ink, one that cannot fit."""
    import io

    from PIL import Image

    dataset, paper = toy_dataset(12), io.BytesIO()
    Image.new("L", (60, 40), 255).save(paper, "PNG")
    rows = dataset.to_list()
    rows[1]["text"], rows[4]["image"]["bytes"], rows[9]["text"] = "", b"no image", "a" * 200
    rows[7]["image"]["bytes"] = paper.getvalue()
    return type(dataset).from_list(rows, features=dataset.features)


def fits(text, width):
    return "too long" if len(text) > width else None


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def same(words, others):
    assert words.texts == others.texts and words.writers == others.writers and words.problems == others.problems
    for ink, other in zip(words.inks, others.inks, strict=True):
        np.testing.assert_array_equal(ink, other)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def test_words_and_problems_from_the_cache_are_those_of_decoding(cache):
    plain = read_words(spoiled_dataset(), 32, fits=fits)
    assert len(plain.problems) == 4
    for _ in range(2):  # written, then found
        words = read_words(spoiled_dataset(), 32, fits=fits, cache=cache)
        assert isinstance(words.inks, Inks)
        same(words, plain)
    assert len(files(cache.folder)) == 1


def test_labels_are_judged_anew(cache):
    assert len(read_words(spoiled_dataset(), 32, cache=cache)) == 9
    assert len(read_words(spoiled_dataset(), 32, fits=fits, cache=cache)) == 8
    assert len(files(cache.folder)) == 1


def test_splits_of_one_set_share_a_file(cache):
    dataset = spoiled_dataset()
    for seed in (0, 1):
        for part in samples.split(dataset, fraction=0.4, seed=seed)[:2]:
            same(read_words(part, 32, cache=cache), read_words(part, 32))
    shuffled = dataset.select([5, 4, 3, 3])
    same(read_words(shuffled, 32, cache=cache), read_words(shuffled, 32))
    assert len(files(cache.folder)) == 1


def test_changed_images_replace_the_stale_file_and_other_data_stay(word_folder, cache):
    def texts(source):
        words = read_words(samples.load(source).dataset, 32, cache=cache)
        return words.texts, files(cache.folder)

    other = word_folder.parent / "other"
    subprocess.run(["cp", "-r", word_folder, other], check=True)
    texts(other)
    _, before = texts(word_folder)
    (word_folder / "0.png").write_bytes((word_folder / "1.png").read_bytes())
    words, after = texts(word_folder)
    assert len(before) == len(after) == 2 and len(set(before) & set(after)) == 1 and len(words) == 8
    same(
        read_words(samples.load(word_folder).dataset, 32, cache=cache),
        read_words(samples.load(word_folder).dataset, 32),
    )
    os.utime(word_folder / "0.png", (1, 1))
    assert texts(word_folder)[1] != after


def test_another_height_has_a_file_of_its_own(word_folder, cache):
    dataset = samples.load(word_folder).dataset
    assert read_words(dataset, 24, cache=cache).inks[0].shape[0] == 24
    assert read_words(dataset, 32, cache=cache).inks[0].shape[0] == 32
    assert len(files(cache.folder)) == 2


@pytest.mark.parametrize("left", [0, 10, -1])
def test_a_file_that_is_cut_short_is_written_anew(cache, left):
    plain = read_words(toy_dataset(6), 32)
    read_words(toy_dataset(6), 32, cache=cache)
    (path,) = cache.folder.iterdir()
    whole = path.read_bytes()
    path.unlink()  # the mapped one is not changed under its readers
    path.write_bytes(whole[:left])
    same(read_words(toy_dataset(6), 32, cache=cache), plain)
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    said = []
    words = read_words(toy_dataset(6), 32, cache=Cache(tmp_path / "file", said.append))
    same(words, read_words(toy_dataset(6), 32))
    assert "cannot be written" in said[0] and isinstance(words.inks, list)


def test_a_process_that_is_killed_while_writing_leaves_no_file_but_a_part_that_goes(cache):
    def rows():
        yield np.zeros((32, 5), np.uint8)
        raise KeyboardInterrupt

    cache.folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        caches.write(cache.folder / "a-b.inks", rows())
    assert files(cache.folder) == []
    left = cache.folder / ".a-c.xyz.part"
    left.write_bytes(b"rest")
    caches.write(cache.folder / "a-b.inks", iter([]))
    assert left.exists()  # perhaps somebody is at it
    os.utime(left, (1, 1))
    caches.write(cache.folder / "a-d.inks", iter([]))
    assert files(cache.folder) == ["a-d.inks"]


RACE = """
import sys
from pathlib import Path
from htr.batches import read_words
from htr.cache import Cache
from tests.toy import toy_dataset
words = read_words(toy_dataset(200), 32, cache=Cache(Path(sys.argv[1])))
print(len(words), sum(int(ink.sum()) for ink in words.inks))
"""


def test_processes_may_race(cache):
    command = [sys.executable, "-c", RACE, str(cache.folder)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    results = [racer.communicate(timeout=300) for racer in racers]
    plain = read_words(toy_dataset(200), 32)
    expected = f"{len(plain)} {sum(int(ink.sum()) for ink in plain.inks)}"
    assert [out.strip() for out, _ in results] == [expected] * 3, results
    assert len(files(cache.folder)) == 1


def test_a_pickled_list_of_inks_holds_places_and_no_pixels(cache):
    inks = read_words(toy_dataset(60), 32, cache=cache).inks
    data = pickle.dumps(inks.take(np.arange(50)))
    assert len(data) < inks[:50].nbytes / 10
    for ink, other in zip(pickle.loads(data), inks, strict=False):
        np.testing.assert_array_equal(ink, other)
    with pytest.raises(ValueError, match="read-only"):
        inks[0][0, 0] = 1


def test_batches_of_cached_words_are_those_of_decoded_ones(cache):
    plain, cached = read_words(toy_dataset(60), 32), read_words(toy_dataset(60), 32, cache=cache)
    charset = Charset.from_texts(plain.texts)
    for strength, process in ((0.0, False), (1.0, True)):
        options = {"batch_size": 8, "strength": strength, "seed": 2}
        a, b = Batches(plain, charset, **options), Batches(cached, charset, process=process, **options)
        try:
            for i in range(len(a)):
                for one, other in zip(a[i], b[i], strict=True):
                    np.testing.assert_array_equal(one, other)
            if process:
                for path in cache.folder.iterdir():  # another run replaces it: what is open stays open
                    path.unlink()
                b.on_epoch_end(), a.on_epoch_end()
                np.testing.assert_array_equal(a[3][0], b[3][0])
                assert all(each._process.poll() is None for each in b._feeder.processes)
        finally:
            b.close()


def test_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("HTR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caches.folder() == tmp_path / "htr"
    monkeypatch.setenv("HTR_CACHE", str(tmp_path / "mine"))
    assert caches.folder() == tmp_path / "mine"
    assert caches.folder(str(tmp_path)) == tmp_path and caches.folder("off") is None
    monkeypatch.setenv("HTR_CACHE", "off")
    assert caches.folder() is None


def test_train_says_where_the_cache_lies_or_has_none(word_folder, tmp_path, capsys):
    folder = tmp_path / "kept"
    argv = ["train", str(word_folder), "--preset", "tiny", "--batch-size", "4", "--epochs", "1"]
    assert cli.main([*argv, "--out", str(tmp_path / "a"), "--cache", str(folder)]) == 0
    (path,) = folder.iterdir()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Decoded words" in line]
    assert str(path) in line and "8 rows" in line and f"{path.stat().st_size / 1e6:,.1f} MB" in line
    assert cli.main([*argv, "--out", str(tmp_path / "b"), "--cache", "off"]) == 0
    assert "Decoded" not in capsys.readouterr().out and files(folder) == [path.name]
    with np.load(tmp_path / "a" / "weights.npz") as a, np.load(tmp_path / "b" / "weights.npz") as b:
        assert all((a[name] == b[name]).all() for name in a.files)


def test_what_decides_the_ink_is_in_the_key():
    from tests.test_house import MODULES, neighbours

    (path,) = [module for module in MODULES if module.stem == "images"]
    # `cache._code` hashes the first two; the third decides what libtiff says, and nothing of the ink
    assert neighbours(path) == {"ink", "files", "libtiff"}
