"""`make bench`: every comparison that takes minutes and no hours, one after the other, written to docs/performance.md.

    python benchmarks/bench.py               # all
    python benchmarks/bench.py reading       # one; the others' last results are kept

Real words lie under HTR_DATA. The comparisons that train for long have scripts and pages of their own (yardstick,
objectives).
"""

import os
import platform
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PARTS = {  # script -> what it asks, and its arguments
    "reading": ("From files to text", ["--words", "2000", "--rounds", "3"]),
    "starting": ("From a cold shell", ["--rounds", "9"]),
    "training": ("Training against the same network in stock layers", ["--rounds", "2"]),
    "growth": ("What training costs against words and width", ["--rounds", "1", "--picture", "docs/growth.png"]),
    "feeding": ("Feeding", []),
    "memory": ("A million words in memory", ["--words", "1000000"]),
    "bulk": ("Bulk reading on Ray", ["--words", "6000", "--block", "250", "--rounds", "1"]),
    "decoding": ("Beam search", []),
}
HEAD = """# Performance

Ratios within one run on one machine; `make bench` writes this page, `python benchmarks/bench.py NAME` one part of it.
Where a goal is missed, what was tried stands in `docs/log.md`.
"""


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}.")
    sections = kept()
    for name in wanted:
        sections[name] = section(name)
        print(sections[name], flush=True)
        PAGE.write_text("\n".join([HEAD, *(sections[part] for part in PARTS if part in sections)]), encoding="utf-8")


def kept() -> dict[str, str]:
    """The sections of the page as it is, by script."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    found = re.findall(r"^## .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {re.search(r"benchmarks/(\w+)\.py", part).group(1): part.strip() + "\n" for part in found}


def section(name: str) -> str:
    title, words = PARTS[name]
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "HTR_DATA": os.environ.get("HTR_DATA", "../shared/data")}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    shown = " ".join(["python", f"benchmarks/{name}.py", *words])
    return f"## {title}\n\n`{shown}`, {date.today()}, {machine()}:\n\n{done.stdout.strip()}\n"


def machine() -> str:
    """Processor, cores, memory and Python, in a phrase."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model.group(1) if model else platform.processor() or platform.machine()
    return f"{cores} cores of {name}, {memory:.0f} GiB, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
