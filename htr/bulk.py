"""Floor 7: bulk reading on Ray Data: parquet files and folders of images in, a folder of parquet files out.

Ray sees numbers of blocks and nothing else (`htr.blocks`): its actors read images and write parts themselves.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from htr import __version__, checkpoint, engines, listing, transcriber
from htr.blocks import SCHEMA, Blocks, BulkError, begin, cells, expand, image, is_table, reason, table_of, write
from htr.images import ImageError

BLOCK = 4096  # rows of a part: what a dead actor reads again at most; beside it a task of Ray costs little
ATTEMPTS = 8  # at one block in one run: a row that kills whatever reads it must not go on for ever
_SHARE = 0.5  # of a CPU, as Ray counts: with whole ones Ray Data's own tasks find no room on small machines, and hang
_TASKS = 10_000  # at most, each of one block or more: the driver remembers something for every task


@dataclass(frozen=True)
class Counts:
    """rows of all parts; failed of them have an error; kept of them were there before this run."""

    rows: int
    failed: int
    kept: int


def read(
    paths: Iterable[str],
    *,
    out: str | os.PathLike,
    checkpoint: str | None = None,
    actors: int | None = None,
    batch_size: int = 64,
    block: int = BLOCK,
    column: str = "image",
    stdin: Iterable[str] = (),
    progress: Callable[[int, int], object] = lambda done, rows: None,
) -> Counts:
    """Read parquet files, folders and images into parquet files in the folder out, one row for every row that came in.

    The same call goes on where an earlier one stopped. actors: processes that read, one for each CPU of the cluster
    where none is given. column: where parquet files have their images. progress is called with the rows that are done
    and all rows. Runs on the Ray that the process is connected to, on that of RAY_ADDRESS, or on one of its own.
    ValueError or OSError says in one sentence what is wrong.
    """
    if not find_spec("ray"):
        raise ValueError("The engine ray is not installed; pip install 'htr-words[ray]', or take onnx.")
    out = Path(out).absolute()
    folder, name = _reader(checkpoint)
    inputs = table_of(expand(paths, stdin, out), column)
    settings = {
        "rows": sum(inputs["rows"].to_pylist()),
        "block": block,
        "inputs": _digest(json.dumps([each.to_pylist() for each in inputs.columns[1:]]), *inputs["path"]),
        "reader": _reader_digest(folder),
        "engine": _engine(folder),
        "column": column,
        "htr": __version__,
    }
    begin(out, inputs, settings, name)
    blocks = Blocks(out)
    blocks.forget()
    found = [blocks.failed(number) for number in range(len(blocks))]
    pending = [number for number, failed in enumerate(found) if failed is None]
    done = kept = blocks.rows - sum(len(blocks.numbers(number)) for number in pending)
    failed = sum(each for each in found if each is not None)
    progress(done, blocks.rows)
    for read_now, failed_now in _run(blocks, pending, name, actors, batch_size) if pending else ():
        done, failed = done + read_now, failed + failed_now
        progress(done, blocks.rows)
    blocks.clear()
    return Counts(done, failed, kept)


# what is read


def _reader(name: str | None) -> tuple[Path, str | None]:
    """A checkpoint's name -> its folder here, and the name by which every node finds it."""
    if name is None:
        return transcriber.shipped(), None
    if str(name).startswith("hf://"):
        return checkpoint.find(name), str(name)
    folder = Path(name).absolute()
    checkpoint.load(folder)
    return folder, str(folder)


def _reader_digest(folder: Path) -> str:
    files = [folder / each for each in (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.ONNX)]
    return _digest(*(file.read_bytes() for file in files if file.is_file()))


def _engine(folder: Path) -> str:
    engine = engines.choose(folder)
    return engine.name if engine else "keras"


def _digest(*parts) -> str:
    sha = hashlib.sha256()
    for part in parts:
        part = part.as_py() if isinstance(part, pa.Scalar) else part
        part = part.encode() if isinstance(part, str) else part
        sha.update(len(part).to_bytes(8, "big") + part)
    return sha.hexdigest()


# how it is read


def _run(blocks: Blocks, pending: list[int], name: str | None, actors: int | None, batch_size: int) -> Iterator:
    """Read blocks on Ray -> (rows, failed rows) of each, as they are done. BulkError where Ray gives up."""
    with _connected() as ray:
        actors = min(actors or int(ray.cluster_resources().get("CPU", 1)) or 1, len(pending))
        work = ray.data.from_items(pending, override_num_blocks=min(len(pending), _TASKS)).map_batches(
            Reader,
            fn_constructor_args=(str(blocks.out), name, batch_size),
            batch_size=1,
            batch_format="numpy",
            num_cpus=_SHARE,
            # an actor that dies is started again, and does again what it had not done: so is Ray Data's default
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
        )
        try:
            for row in work.iter_rows():
                if row["error"]:
                    raise _stopped(row["error"], blocks)
                yield int(row["rows"]), int(row["failed"])
        except (ray.exceptions.RayError, RuntimeError) as error:
            lines = [line for line in str(error).splitlines() if re.match(r"[\w.]+(Error|Exception): ", line)]
            raise _stopped(lines[0] if lines else reason(error, -1), blocks) from error


def _stopped(why: str, blocks: Blocks) -> BulkError:
    return BulkError(
        f"The actors cannot go on: {why.rstrip('.')}. What is done stays in {blocks.out}; repair this and run the same "
        "again."
    )


@contextlib.contextmanager
def _connected() -> Iterator:
    """Ray, connected and quiet; what is connected here is let go again."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody
    import ray
    import ray.data

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of no kind in particular where a node is slow
            raise BulkError(
                f"Ray cannot be reached or started: {reason(error)}; nothing is lost, try again."
            ) from error
    logger, context = logging.getLogger("ray.data"), ray.data.DataContext.get_current()
    level, bars = logger.level, context.enable_progress_bars
    logger.setLevel(logging.CRITICAL)
    context.enable_progress_bars = False
    try:
        yield ray
    finally:
        logger.setLevel(level)
        context.enable_progress_bars = bars
        if ours:
            ray.shutdown()


class Reader:
    """An actor: a process of its own that loads the reader once and writes one block after the other."""

    def __init__(self, out: str, name: str | None, batch_size: int):
        import cv2

        # an actor is one core's work: its libraries must not take those of its neighbours
        for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            os.environ[variable] = "1"
        cv2.setNumThreads(1)
        engines.cores = lambda: 1
        self.blocks, self.batch_size, self.name = Blocks(Path(out)), batch_size, name

    @functools.cached_property
    def reader(self) -> transcriber.Transcriber:
        """The reader that the run was begun with. BulkError where this node has another."""
        folder, _ = _reader(self.name)
        if _reader_digest(folder) != self.blocks.settings["reader"]:
            raise BulkError(f"{folder} is another reader on {platform.node()} than where the run was begun.")
        return transcriber.load(folder, engine=self.blocks.settings["engine"])

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{"item": numbers of blocks} -> their rows and failed rows, and the error that ends the run."""
        told: dict[str, list] = {"rows": [], "failed": [], "error": []}
        for number in batch["item"].tolist():
            failed, error = 0, ""
            try:
                failed = self._read(number)
            except (ValueError, OSError) as wrong:  # raised, it would come out under lines of Ray's own
                error = str(wrong)
            told["rows"].append(len(self.blocks.numbers(number)))
            told["failed"].append(failed)
            told["error"].append(error)
        return {name: np.array(values) for name, values in told.items()}

    def _read(self, number: int) -> int:
        """Write a block's part -> how many of its rows failed."""
        if (failed := self.blocks.failed(number)) is not None:
            return failed  # this task's actor died after it had written this block and before the task was over
        self.blocks.attempt(number, ATTEMPTS)
        places = [(path, row) for path, rows in self.blocks.pieces(number) for row in rows]
        damaged: dict[int, ImageError] = {}
        outcomes = list(self.reader.stream(self._images(number, damaged), batch_size=self.batch_size))
        columns: dict[str, list] = {name: [] for name in SCHEMA.names}
        for index, ((path, row), outcome) in enumerate(zip(places, outcomes, strict=True)):
            told = listing.record(path, damaged.get(index, outcome)) | {"row": row}
            told["path"], error = os.fsencode(path).decode(errors="backslashreplace"), told.get("error")
            told["error"] = error and error.encode(errors="backslashreplace").decode()
            for column, values in columns.items():
                values.append(told.get(column))
        table = pa.table(columns, schema=SCHEMA)
        write(self.blocks.part(number), lambda file: pq.write_table(table, file))
        self.blocks.forget(number)
        return len(table) - table["error"].null_count

    def _images(self, number: int, damaged: dict[int, ImageError]) -> Iterator[str | bytes | dict]:
        """The images of a block, one by one; damaged gets those whose place in a parquet file cannot be read."""
        index = 0
        for path, rows in self.blocks.pieces(number):
            if not is_table(path):
                yield path
                index += 1
                continue
            done = 0
            try:
                for cell in cells(path, rows, self.blocks.settings["column"]):
                    yield image(cell, path, rows[done])
                    done += 1
                why = "the file has fewer rows than before"
            except (pa.ArrowException, OSError) as error:
                why = reason(error)
            for row in rows[done:]:
                damaged[index + row - rows.start] = ImageError(f"{path} row {row} cannot be read: {why}.")
                yield b""
            index += len(rows)
