# %% [markdown]
# # What objectives learn
#
# The same network, words and minutes, three objectives; then one word, frame by frame. Set `DATA` to your own words.

# %%
import shutil
from pathlib import Path

import htr
from htr import plotting, samples, synth
from htr.images import to_ink

# %%
DATA, MINUTES = None, 0.45
FOLDER = Path("build")
if DATA is None:
    options = {"seed": 1, "strength": 0.2, "capitals": 0, "lexicon": ["lake", "lane", "kale", "lull"]}
    dataset = samples.load(str(synth.write_parquet(FOLDER / "few.parquet", 900, **options))).dataset
    dataset = dataset.filter(str.islower, input_columns="text")  # some hands write a few letters as capitals
else:
    dataset = samples.load(DATA).dataset
train, validation, _ = samples.split(dataset, seed=0)


# %%
def learned(objective):
    out = FOLDER / objective
    shutil.rmtree(out, ignore_errors=True)
    settings = htr.TrainConfig(objective=objective, minutes=MINUTES, learning_rate=4e-3, batch_size=16, augment=0)
    return htr.train(train, validation, out=out, model=htr.preset("tiny"), training=settings, skip_bad=True)


readers = {name: learned(name) for name in ("ctc", "crossentropy", "alignment-ctc")}
print({name: f"{htr.evaluate(reader, validation).cer:.1%}" for name, reader in readers.items()})

# %% [markdown]
# ## CTC: a letter or a blank
#
# Each frame says a letter or the blank (-). How long a letter lasts is free: where few words are to be told apart, one
# may reach over its neighbour's place.

# %%
readers["shipped"] = htr.load(engine="keras")
read = [word.text for word in readers["shipped"].transcribe(list(validation["image"][:40]))]
number = next((i for i, text in enumerate(read) if text == validation["text"][i]), 0)  # one that can be read
image, label = validation["image"][number], validation["text"][number]
ink = to_ink(image, 32).pixels


def look(name):
    reader = readers[name]
    print(name, repr(reader.transcribe(image).text), "labelled", repr(label))
    return plotting.strip(ink, reader.logits([image])[0], reader.charset)


look("ctc")

# %% [markdown]
# The reader that ships is CTC too, and has seen many words: it says a letter once, in a narrow peak, on the same word:

# %%
look("shipped")

# %% [markdown]
# ## Cross-entropy over frames: spelling
#
# Letter i is asked for at frame i, then the end (|). The picture above the frames means nothing here: the recurrent
# layers carry the word to the left and spell it there. No letter has a place, and no lexicon can be laid over frames.

# %%
look("crossentropy")

# %% [markdown]
# ## CTC with alignment: frames that agree
#
# In addition every frame is asked for what the best alignment has there (arithmetic in `htr/ctc_variants.py`). What the
# first steps settled on is kept: that helps where letters are to be cut out, and can slow the start down.

# %%
look("alignment-ctc")

# %% [markdown]
# Which one reads best is a question for real words and more minutes: `benchmarks/objectives.py`.
