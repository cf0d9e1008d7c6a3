"""Under load and abuse no answer is wrong, nothing grows in long runs, and a server that is stopped loses no answer.

The short form runs with the other tests; HTR_SOAK=1 (`make soak`) takes an hour or two.
"""

import os

import pytest

from tests import loading, serving, soaking

SOAK = os.environ.get("HTR_SOAK") == "1"
CLIENTS, SECONDS = (50, 120) if SOAK else (12, 4)
WORDS, EPOCHS, RESTARTS = (200_000, 50, 10) if SOAK else (4_000, 12, 1)
ROOM = 400  # MB more than at rest: 128 of bodies, twice where they are put together, and one large picture


@pytest.fixture
def extra():
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'htr-words[demo]'")


def test_clients_get_their_own_words_whatever_others_do(extra, tmp_path):
    with serving.serving(tmp_path) as server:
        told = loading.load(server, loading.words(), clients=CLIENTS, seconds=SECONDS)
        print(f"\n{told}")
        assert (told.record.wrong, told.record.errors, told.stray) == ([], [], [])
        assert len(told.record.seconds) >= CLIENTS
        before, most, _ = told.memory
        assert most < before + ROOM
        assert told.handles[1] <= told.handles[0]
        assert server.stop() == 143
    assert "Traceback" not in server.complaints
    assert list(server.temporary.iterdir()) == []


def test_memory_and_open_files_stay_over_many_words(tmp_path):
    rendered, batch_size = (soaking.RENDERED, 64) if SOAK else (400, 16)
    levels = soaking.words(WORDS, tmp_path, every=WORDS // 20, rendered=rendered, batch_size=batch_size)
    assert soaking.growth(levels) < (soaking.LONG_GROWTH if SOAK else soaking.GROWTH)
    assert soaking.more_handles(levels) <= 0


def test_memory_and_open_files_stay_over_many_epochs(tmp_path):
    levels = soaking.epochs(EPOCHS, tmp_path)
    assert soaking.growth(levels) < soaking.GROWTH
    assert soaking.more_handles(levels) <= 0


def test_a_server_that_is_stopped_under_load_loses_no_answer(extra, tmp_path):
    told = soaking.restart(RESTARTS, tmp_path, clients=8 if SOAK else 4, each=20 if SOAK else 8)
    print(f"\n{told}")
    assert (told.wrong, told.unread) == ([], [])
    assert set(told.codes) == {143}
    assert "right" in {note["outcome"] for note in told.notes}


def test_a_server_that_is_stopped_answers_what_it_has_begun_to_take(extra, tmp_path):
    assert soaking.in_flight(tmp_path) == 12
