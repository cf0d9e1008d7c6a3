#!/bin/sh
# `make demo`: renders words, trains a small reader on some fonts, reads other words in other fonts. About 6 minutes on 2 cores.
set -eu
bin=.venv/bin
out=build/demo
rm -rf "$out"
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }

say "The shipped reader on docs/samples: no training, no download"
"$bin/htr" transcribe docs/samples --format tsv

say "Now one of our own. Words: 12,000 to learn from, and 500 other words in pen fonts that the reader will not have seen"
"$bin/python" -c "
from wordfreq import top_n_list
words = top_n_list('en', 12000)
print(*(word for word in words if word.isascii() and word.isalpha() and 3 <= len(word) <= 8), sep='\n')
" > "$out/words.txt"
"$bin/htr" synth "$out/train.parquet" --words 12000 --seed 1 --strength 0 --lexicon "$out/words.txt"
"$bin/htr" synth "$out/test.parquet" --words 500 --seed 2 --strength 0 --lexicon "$out/words.txt" --held-out "$out/train.parquet"

say "Train for ${MINUTES:-4.5} minutes"
"$bin/htr" train "$out/train.parquet" --out "$out/reader" --preset tiny --batch-size 16 --augment 0 \
    --minutes "${MINUTES:-4.5}" --skip-bad

say "Evaluate on the unseen words and fonts"
"$bin/htr" evaluate "$out/test.parquet" --checkpoint "$out/reader" --json "$out/report.json"

say "Eight of those words as the new reader reads them"
"$bin/python" -c "
import pyarrow.parquet as parquet
for row in parquet.read_table('$out/test.parquet').slice(0, 8).to_pylist():
    open('$out/' + row['text'] + '.jpg', 'wb').write(row['image']['bytes'])
"
"$bin/htr" transcribe "$out"/*.jpg --checkpoint "$out/reader" --format tsv
