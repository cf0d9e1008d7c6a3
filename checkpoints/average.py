"""The weighted mean of two readers of one network that reads validation words best, its confidences calibrated anew.

    python checkpoints/average.py OLDER NEWER OUT VALIDATION.parquet ...

Where a reader goes on from another at a low learning rate both lie in one basin, and a point between them reads better
than either (Wortsman et al. 2022, "Model soups"). Characters that the newer one lacks are left behind; of readers with
other networks, or where the newer one knows more characters, the newer one is taken.
"""

import argparse
from pathlib import Path

import htr
from htr import samples
from htr.images import to_ink
from htr.metrics import cer
from htr.training import calibrate, transplant

SHARES = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2)  # of the newer reader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("older", type=Path)
    parser.add_argument("newer", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("validation", type=Path, nargs="+")
    args = parser.parse_args()
    older, reader, common = (htr.load(folder, engine="keras") for folder in (args.older, args.newer, args.newer))
    sets = [samples.load(str(path)).dataset for path in args.validation]
    inks = [to_ink(image, reader.config.height) for data in sets for image in data["image"]]
    texts = [text for data in sets for text in data["text"]]
    alike = older.config == reader.config and not transplant(older, common.model, reader.charset)["new"]
    ends = [part.model.get_weights() for part in (common, reader)]
    rates = {}
    for share in SHARES if alike else SHARES[:1]:
        mix(reader, ends, share)
        rates[share] = cer(texts, [word.text for word in reader.transcribe(inks)])
        print(f"{share:.2f} of {args.newer}: validation CER {100 * rates[share]:.2f} %", flush=True)
    share = min(rates, key=rates.__getitem__)
    mix(reader, ends, share)
    calibrate(reader, inks, texts)
    reader.training |= {"average": {"newer": share, "older": 1 - share}, "validation_cer": round(rates[share], 5)}
    reader.save(args.out)


def mix(reader, ends: list[list], share: float) -> None:
    """Give the reader the mean of the weights at both ends: as much of the second as share says."""
    reader.model.set_weights([(1 - share) * older + share * newer for older, newer in zip(*ends, strict=True)])


if __name__ == "__main__":
    main()
