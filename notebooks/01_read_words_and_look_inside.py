# %% [markdown]
# # Read words, and look inside
#
# The reader that ships, on words that this project rendered. Set `IMAGES` to a list of your own files.

# %%
from pathlib import Path

import numpy as np

import htr
from htr import plotting
from htr.images import to_ink

IMAGES = None
files = [str(file) for file in IMAGES or sorted(Path("../docs/samples").glob("*.jpg"))]
reader = htr.load(engine="keras")
words = reader.transcribe(files)

# %% [markdown]
# Each word as the network sees it, with what it reads and how sure it is. The confidence is the probability of the
# whole text, over all the ways of laying it over the frames.

# %%
inks = [to_ink(file, reader.config.height) for file in files]
plotting.sheet([ink.pixels for ink in inks], [f"{word.text}  {word.confidence:.2f}" for word in words])

# %% [markdown]
# ## One word, frame by frame
#
# A frame covers four columns. At each the network says how likely every character is, or the blank (-), which
# separates. Most frames are blank: CTC learns to say a letter once, in a narrow peak.

# %%
number = next((i for i, word in enumerate(words) if len(word.text) >= 6 and word.text.isalpha()), 0)
logits = reader.logits([files[number]])[0]
print(logits.shape, "frames and classes;", f"{(logits.argmax(1) == 0).mean():.0%} of the frames are blank")
plotting.strip(inks[number].pixels, logits, reader.charset, temperature=reader.temperature)

# %% [markdown]
# ## Where each letter was read
#
# The text is the path of likeliest classes, repeats merged and blanks dropped. The borders lie midway between peaks.

# %%
word, ink = words[number], inks[number]
print([(c.character, round(c.confidence, 2), round(c.left), round(c.right)) for c in word.characters])
plotting.places(ink.pixels, word.characters, left=ink.left, scale=ink.scale)

# %% [markdown]
# ## The words it is least sure of
#
# Confidence sorts: what is low is worth a look. A beam search tells what else it could be.

# %%
from htr.search import Search

unsure = sorted(range(len(files)), key=lambda i: words[i].confidence)[:3]
reader.use(Search(top=3))
for word in reader.transcribe([files[i] for i in unsure]):
    print([(text, round(confidence, 3)) for text, confidence in word.alternatives])
reader.use(None)
plotting.strip(inks[unsure[0]].pixels, reader.logits([files[unsure[0]]])[0], reader.charset)

# %% [markdown]
# ## The same word in other company
#
# Alone, in a batch with wider words, padded to 500 px: the numbers are the same, so is the text.

# %%
alone = reader.logits([files[number]])[0]
batched = reader.logits(files, batch_size=len(files))[number]
padded = reader.logits([files[number]], pad_to=500)[0]
print(np.abs(alone - batched).max(), np.abs(alone - padded).max())
