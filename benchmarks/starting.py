"""How long a cold shell waits: `htr transcribe` of one image against `import tensorflow` alone, medians of starts.

python benchmarks/starting.py --rounds 9
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

WORD = Path(__file__).resolve().parent.parent / "docs" / "samples" / "harvest.jpg"
STARTS = {
    "python -c pass": ["-c", "pass"],
    "import htr": ["-c", "import htr"],
    "htr --help": ["-m", "htr", "--help"],
    "htr transcribe word.jpg, engine onnx": ["-m", "htr", "transcribe", str(WORD), "--engine", "onnx"],
    "htr transcribe word.jpg, engine keras": ["-m", "htr", "transcribe", str(WORD), "--engine", "keras"],
    "import tensorflow": ["-c", "import tensorflow"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    seconds = {name: [] for name in STARTS}
    for _ in range(args.rounds):
        for name, words in STARTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    print("| start | seconds | above a bare interpreter | times import tensorflow |\n| --- | --- | --- | --- |")
    for name, time_taken in middle.items():
        above = time_taken - middle["python -c pass"]
        print(f"| {name} | {time_taken:.2f} | {above:.2f} | {time_taken / middle['import tensorflow']:.2f} |")


if __name__ == "__main__":
    main()
