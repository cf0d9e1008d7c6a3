# %% [markdown]
# # Where it fails
#
# Errors by writer, length and character, and what to do about them. Here the reader that ships reads rendered words in
# pens of all kinds; set `DATA` to your own words with their texts.

# %%
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

import htr
from htr import plotting, samples, synth
from htr.images import to_ink

# %%
DATA = None
if DATA is None:
    DATA = str(synth.write_parquet(Path("build") / "hands.parquet", 480, seed=5, languages=["en", "fr"]))
dataset = samples.load(DATA).dataset
reader = htr.load()
report = htr.evaluate(reader, dataset)
rows = report.rows
print(f"CER {report.cer:.1%}, between {report.intervals['cer'][0]:.1%} and {report.intervals['cer'][1]:.1%} by writer")


# %%
def table(keys, name):
    sums = defaultdict(lambda: np.zeros(3, int))
    for key, wrong, length in zip(keys, rows.edits, rows.lengths, strict=True):
        sums[key] += (wrong, length, 1)
    ordered = sorted(sums.items(), key=lambda item: -item[1][0])
    for key, (wrong, length, count) in ordered[:8]:
        print(f"{name} {key!s:34} {wrong:4} errors in {count:3} words, CER {wrong / max(1, length):6.1%}")
    return [key for key, _ in ordered]


# %% [markdown]
# ## By writer
#
# Errors crowd in few hands. Words of such hands, or synthetic ones like them, help more than further words of others.

# %%
worst = table(rows.writers, "writer")[0]

# %%
chosen = [i for i, writer in enumerate(rows.writers) if writer == worst][:12]
inks = [to_ink(dataset[i]["image"], 32).pixels for i in chosen]
plotting.sheet(inks, [f"{rows.references[i]} -> {rows.hypotheses[i]}" for i in chosen])

# %% [markdown]
# ## By length and kind
#
# Short words have little context; digits and capitals are rare in training words.

# %%
table([f"{min(len(text), 12):2} letters" for text in rows.references], "length")
kinds = [
    "digits" if any(c.isdigit() for c in t) else "all capitals" if t.isupper() and len(t) > 1 else "other"
    for t in rows.references
]
table(kinds, "kind")

# %% [markdown]
# ## By character
#
# What is taken for what. Accents and case are the usual suspects; a lexicon or a language model mends many of them
# (`htr evaluate --lm`), further words with these characters mend the rest.

# %%
pairs = Counter()
for truth, read in zip(rows.references, rows.hypotheses, strict=True):
    if len(truth) == len(read):
        pairs.update((a, b) for a, b in zip(truth, read, strict=True) if a != b)
print([f"{a} as {b}: {count}" for (a, b), count in pairs.most_common(12)])

# %% [markdown]
# ## The surest mistakes
#
# A confident error is either a trap for the reader or a wrong label: look before you train. `htr check --checkpoint`
# ranks all labels by doubt and writes a file of corrections.

# %%
wrong = sorted((i for i in range(len(dataset)) if rows.edits[i]), key=lambda i: -rows.confidences[i])[:12]
inks = [to_ink(dataset[i]["image"], 32).pixels for i in wrong]
plotting.sheet(inks, [f"{rows.references[i]} -> {rows.hypotheses[i]} {rows.confidences[i]:.2f}" for i in wrong])
