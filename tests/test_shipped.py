"""The reader that ships, through the commands; and its recipe in a short form, from raw inputs to a folder."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import htr
from htr import cli

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "docs" / "samples"


def test_shipped_reader_reads_the_samples(capsys):
    assert cli.main(["evaluate", str(SAMPLES)]) == 0
    with open(SAMPLES / "metadata.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    reader = htr.load()
    texts = [word.text for word in reader.transcribe([SAMPLES / row["file_name"] for row in rows])]
    assert htr.cer([row["text"] for row in rows], texts) < 0.15
    assert reader.transcribe(SAMPLES / "good-morning.jpg").text == "good morning"  # what README shows


def test_shipped_folder_is_small_and_says_what_it_is():
    folder = ROOT / "checkpoints" / "latin"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20e6
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert {"commit", "command", "hours", "config"} <= set(config["training"])
    assert config["training"]["config"]["seed"] == 0
    printable = {chr(code) for code in range(32, 127)}
    assert printable <= set(config["alphabet"])
    assert set("àâçéèêëîïôœùûüÿäößÀÂÇÉÈÊËÎÏÔŒÙÛÜÄÖ") <= set(config["alphabet"])
    card = (folder / "README.md").read_text(encoding="utf-8")
    for credit in ("Nauman Riaz", "OpenStreetMap", "BAnQ", "non commerciales"):
        assert credit in card


def test_report_and_comparison_are_written(tmp_path, capsys):
    page = tmp_path / "report.html"
    shipped = str(ROOT / "checkpoints" / "latin")
    assert cli.main(["evaluate", str(SAMPLES), "--report", str(page), "--compare", shipped]) == 0
    assert page.stat().st_size > 10_000 and "no network is needed" in capsys.readouterr().out


def test_lines_become_words_to_train_on(tmp_path, capsys):
    words = [Image.open(SAMPLES / name).convert("L") for name in ("chateau.jpg", "quebec.jpg")]
    line = Image.new("L", (sum(word.width for word in words) + 40, 90), 255)
    left = 0
    for word in words:
        line.paste(Image.fromarray(np.where(np.asarray(word) > 150, 255, np.asarray(word)).astype("uint8")), (left, 5))
        left += word.width + 40
    line.save(tmp_path / "line.png")
    (tmp_path / "lines.tsv").write_text("path\ttext\nline.png\tchâteau Quebec\n", encoding="utf-8")
    out = tmp_path / "words.parquet"
    arguments = ["align", str(tmp_path / "lines.tsv"), "--out", str(out), "--columns", "image=path"]
    assert cli.main([*arguments, "--min-confidence", "0"]) == 0
    from htr import samples

    assert samples.load(str(out)).dataset["text"][:] == ["château", "Quebec"]
    assert "2 of 2 words from 1 lines" in capsys.readouterr().out
    assert cli.main([*arguments, "--min-confidence", "1"]) == 0
    with open(tmp_path / "words_left_out.csv", newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["château", "Quebec"]


def iam(folder: Path, words: int = 30) -> Path:
    """A database in IAM's layout with words rendered here: three forms of three writers, each a part of the split."""
    from htr import synth

    (folder / "task").mkdir(parents=True)
    (folder / "xml").mkdir()
    rows = ["# words.txt"]
    for number, (part, word) in enumerate(
        zip("abc" * words, synth.words(3 * words, seed=5, strength=0.0), strict=False)
    ):
        form = f"{part}01-000"
        name = f"{form}-{number // 30:02}-{number:02}"
        place = folder / "words" / f"{part}01" / form
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.png").write_bytes(word["image"])
        rows.append(f"{name} ok 154 1 2 3 4 NN {word['text'].replace(' ', '|')}")
        (folder / "xml" / f"{form}.xml").write_text(f'<form id="{form}" writer-id="{part}"><line/></form>')
    (folder / "words.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for part, name in zip("abc", ("trainset", "validationset1", "testset"), strict=True):
        (folder / "task" / f"{name}.txt").write_text(f"{part}01-000\n")
    return folder


def test_recipe_for_iam_runs_from_its_files_to_a_figure(tmp_path, capsys):
    folder, run = iam(tmp_path / "iam"), str(tmp_path / "run")
    train = ["train", f"iam:{folder}:train", "--validation", f"iam:{folder}:validation", "--out", run]
    assert cli.main([*train, "--init", str(ROOT / "checkpoints" / "latin"), "--epochs", "1", "--skip-bad"]) == 0
    figures = tmp_path / "figures.json"
    assert cli.main(["evaluate", f"iam:{folder}:test", "--checkpoint", run, "--json", str(figures)]) == 0
    report = json.loads(figures.read_text(encoding="utf-8"))
    assert report["words"] == 30 and 0 <= report["cer"] < 1


def test_short_form_of_the_recipe_makes_a_reader_from_raw_inputs(shared_data, tmp_path):
    import pyarrow.parquet as parquet

    for name in ("dhsd", "copiste"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for part in ("train", "validation", "test"):
            rows = parquet.read_table(shared_data / name / f"{part}.parquet").slice(0, 60)
            parquet.write_table(rows, tmp_path / "data" / name / f"{part}.parquet")
    (tmp_path / "data" / "copiste_lines").mkdir()
    lines = parquet.read_table(shared_data / "copiste_lines" / "train.parquet").slice(0, 8)
    parquet.write_table(lines, tmp_path / "data" / "copiste_lines" / "train.parquet")
    command = [sys.executable, str(ROOT / "checkpoints" / "recipe.py"), "--preset", "tiny", "--synthetic", "120"]
    command += [
        "--real-minutes",
        "0.1",
        "--mixed-minutes",
        "0.1",
        "--capitals",
        "30",
        "--blocks",
        "24",
        "--doubtful",
        "0.1",
    ]
    command += ["--out", str(tmp_path / "stages"), "--ship", str(tmp_path / "latin")]
    environment = {**os.environ, "HTR_DATA": str(tmp_path / "data")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert htr.load(tmp_path / "latin").training["command"].startswith("python checkpoints/recipe.py --synthetic 120")
    assert "| dhsd test | 60 |" in (tmp_path / "latin" / "README.md").read_text(encoding="utf-8")


def test_average_of_readers_is_never_worse_on_validation_than_the_newer(shared_data, tmp_path):
    import pyarrow.parquet as parquet

    rows = parquet.read_table(shared_data / "dhsd" / "validation.parquet").slice(0, 40)
    parquet.write_table(rows, tmp_path / "validation.parquet")
    spoilt = htr.load(engine="keras")
    weights = spoilt.model.get_weights()
    spoilt.model.set_weights([np.zeros_like(weight) for weight in weights])
    spoilt.save(tmp_path / "spoilt")
    script, out = ROOT / "checkpoints" / "average.py", tmp_path / "out"
    command = [
        sys.executable,
        script,
        tmp_path / "spoilt",
        ROOT / "checkpoints" / "latin",
        out,
        tmp_path / "validation.parquet",
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reader = htr.load(out)
    assert reader.training["average"]["newer"] + reader.training["average"]["older"] == 1
    told = {float(line.split()[0]): float(line.split()[-2]) for line in done.stdout.splitlines()}
    assert min(told.values()) == told[reader.training["average"]["newer"]] <= told[1.0] < 8
    if reader.training["average"]["newer"] == 1:
        assert all(np.array_equal(*pair) for pair in zip(weights, reader.model.get_weights(), strict=True))


@pytest.mark.parametrize("objective", ["shortcut-ctc", "consistency-ctc", "entropy-ctc", "alignment-ctc"])
def test_objectives_with_views_and_alignments_train(objective, word_folder, tmp_path):
    train = ["train", str(word_folder), "--out", str(tmp_path / "run"), "--preset", "tiny", "--epochs", "2"]
    assert cli.main([*train, "--objective", objective, "--batch-size", "4"]) == 0
    assert htr.load(tmp_path / "run").objective.name == objective


def test_wrong_labels_are_found_and_corrected(tmp_path, capsys):
    with open(SAMPLES / "metadata.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = {row["file_name"]: row["text"] for row in rows}
    labels["pebble.jpg"], labels["chateau.jpg"] = labels["chateau.jpg"], labels["pebble.jpg"]
    table = tmp_path / "words.csv"
    lines = ["image,text", *(f'{SAMPLES / name},"{text}"' for name, text in labels.items())]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "audit"
    assert cli.main(["check", str(table), "--checkpoint", str(ROOT / "checkpoints/latin"), "--out", str(out)]) == 0
    assert (out / "labels.html").stat().st_size > 10_000
    with open(out / "corrections.csv", newline="", encoding="utf-8") as file:
        corrected = {row["old"]: row["new"] for row in csv.DictReader(file) if row["action"] == "correct"}
    assert corrected == {"château": "pebble", "pebble": "château"}
    capsys.readouterr()
    assert cli.main(["evaluate", str(table), "--corrections", str(out / "corrections.csv")]) == 0
    assert "2 labels corrected, 0 rows dropped" in capsys.readouterr().out
