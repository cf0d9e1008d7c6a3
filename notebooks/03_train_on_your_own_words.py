# %% [markdown]
# # Train a reader on your own words
#
# From a data set to a reader and its error rate. The words here are rendered, so that the notebook runs anywhere; set
# `DATA` to your own (a parquet file, a folder with `metadata.csv`, a CSV of path and text ...) and `MINUTES` to 30.

# %%
import shutil
from pathlib import Path

import htr
from htr import plotting, samples, synth
from htr.augment import augment, generator
from htr.batches import read_words

DATA, MINUTES = None, 0.5
FOLDER = Path("build")
shutil.rmtree(FOLDER, ignore_errors=True)

# %% [markdown]
# ## The words
#
# `htr synth` does the same on the command line. Each writer is a pen, a hand and a sheet of paper.

# %%
if DATA is None:
    lexicon = ["lake", "lane", "kale"]
    DATA = str(synth.write_parquet(FOLDER / "words.parquet", 1500, seed=1, strength=0.3, lexicon=lexicon))
dataset = samples.load(DATA).dataset
dataset

# %% [markdown]
# Every image becomes ink: cropped to the writing, 32 px high, ink 1 and paper 0. This is what the network sees.

# %%
words = read_words(dataset.select(range(24)), height=32)
plotting.sheet(words.inks, words.texts)

# %% [markdown]
# ## The same words, augmented
#
# No word is shown twice as it was: it is sheared, bent, thinned, ruled, faded. Sixty drafts of a few words:

# %%
drafts = [augment(words.inks[i % 12], generator(0, 0, i), strength=1.0) for i in range(60)]
plotting.sheet(drafts, columns=6, cell=(170, 56), zoom=1.2)

# %% [markdown]
# ## Training
#
# Writers of the validation words occur nowhere among the training words. The best reader so far is in the folder.

# %%
train, validation, how = samples.split(dataset, seed=0)
print(how)
settings = htr.TrainConfig(minutes=MINUTES, learning_rate=4e-3, batch_size=16)
reader = htr.train(train, validation, out=FOLDER / "reader", model=htr.preset("tiny"), training=settings, skip_bad=True)

# %% [markdown]
# ## How well it reads
#
# The interval is over writers: with few of them it is wide, and says so.

# %%
print(htr.evaluate(reader, validation))

# %%
shown = validation.select(range(12))
readings = [word.text for word in reader.transcribe(list(shown["image"]))]
inks = read_words(shown, height=32).inks
plotting.sheet(inks, [f"{text} -> {reading}" for text, reading in zip(shown["text"], readings, strict=True)])

# %% [markdown]
# Half a minute gives a reader of three words. What thirty minutes on real words give stands in the
# README. Next: `htr evaluate --report page.html` shows where it fails, `htr check --checkpoint` finds wrong labels.
