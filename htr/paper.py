"""Floor 1: pens and papers. Puts ink on paper, and takes the photograph or scan of it."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Desk:
    """What one writer writes with and on."""

    ink: tuple  # colour of the pen, blue green red
    paper: tuple
    darkness: float  # how much of the paper the ink hides


def new_desk(rng):
    """rng -> a pen and a paper."""
    return Desk(ink=tuple(float(v) for v in rng.uniform(0, 110, 3)), paper=(252.0, 252.0, 252.0), darkness=float(rng.uniform(0.5, 1)))


def photograph(ink, mask, rng, *, desk):
    """ink (h, w) 0..1, mask (h, w) bool -> (image bytes, mask (h, w) bool)."""
    cover = (ink * desk.darkness)[..., None]
    image = np.float32(desk.paper) * (1 - cover) + np.float32(desk.ink) * cover
    return cv2.imencode(".png", np.clip(image, 0, 255).astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), mask
