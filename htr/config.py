"""Floor 0: what a network and a training run are made of; plain frozen dataclasses that survive JSON."""

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """The network: masked convolutions, then bidirectional LSTMs over columns.

    blocks: one (filters, stride_height, stride_width, convolutions) a stage. The product of the width strides is the
    number of input pixels a frame covers. recurrent: the units of each BiLSTM's direction, in order.
    """

    height: int = 40
    blocks: tuple[tuple[int, int, int, int], ...] = ((24, 2, 2, 1), (48, 2, 2, 1), (96, 1, 1, 2), (128, 2, 1, 1))
    columns: int = 192  # features of a column before the recurrent layers
    recurrent: tuple[int, ...] = (160, 160)
    dropout: float = 0.2
    learned_mask: bool = False  # gate the first features with a learned ink mask
    learned_fill: bool = False  # learn the value of missing pixels (NaN inside the image)
    mask_channel: bool = False  # show the network where pixels are missing, as one more channel
    batch_norm_momentum: float = 0.9

    def __post_init__(self):
        object.__setattr__(self, "blocks", tuple(tuple(int(n) for n in block) for block in self.blocks))
        object.__setattr__(self, "recurrent", tuple(int(n) for n in self.recurrent))
        if not self.blocks or any(len(block) != 4 or min(block) < 1 for block in self.blocks):
            raise ValueError(
                f"blocks is {self.blocks}; give one (filters, stride_height, stride_width, "
                "convolutions) a stage, all at least 1."
            )
        if not self.recurrent or min(self.recurrent) < 1:
            raise ValueError(f"recurrent is {self.recurrent}; give the units of at least one BiLSTM.")
        if self.height < 8 or self.height > 256:
            raise ValueError(f"height is {self.height} px; 8 to 256 are possible.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it is a share from 0 to below 1.")

    @property
    def stride(self) -> int:
        """Input pixels a frame covers."""
        stride = 1
        for block in self.blocks:
            stride *= block[2]
        return stride

    def frames(self, width: int) -> int:
        """Frames of an image of width px: every stride that starts inside the image counts."""
        for block in self.blocks:
            width = -(-width // block[2])
        return width

    def misfit(self, text: str, needed: int, width: int) -> str | None:
        """Why a text that needs so many frames cannot be read from an ink of width px, or None where it can.

        >>> ModelConfig().misfit("Straße", 6, 20)
        "'Straße' needs 6 frames, the image gives 5: it is 20 px wide at a height of 40, 24 or more are needed"
        """
        if needed <= self.frames(width):
            return None
        return (
            f"{text!r} needs {needed} frames, the image gives {self.frames(width)}: it is {width} px wide "
            f"at a height of {self.height}, {needed * self.stride} or more are needed"
        )


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Give epochs, or minutes, or both (the first that is reached ends it)."""

    objective: str = "ctc"
    objective_options: dict[str, float] = dataclasses.field(default_factory=dict)  # its hyper-parameters
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: float = 0.03  # share of the run
    weight_decay: float = 1e-2
    clip_norm: float = 2.0
    ema: float = 0.998  # momentum of the averaged weights, which are what is validated and kept; 0 turns it off
    augment: float = 1.0  # strength; 0 turns it off
    patience: int | None = None  # epochs without a better validation CER before the run stops
    seed: int = 0
    mixed_precision: bool = False
    workers: int = 1  # 1: processes of their own augment beside the network; 0: the training process does

    def __post_init__(self):
        if self.epochs is None and self.minutes is None:
            raise ValueError("A run needs an end; give epochs, minutes or both.")
        for name in ("epochs", "minutes", "batch_size", "learning_rate", "patience"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0.")
        for name in ("warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share from 0 to below 1.")
        if self.workers not in (0, 1):
            raise ValueError(f"workers is {self.workers}; 1 (processes of their own augment) or 0 (none) are possible.")
        if not 0 <= self.augment <= 2:
            raise ValueError(f"augment is {self.augment}; it is a strength from 0 (off) to 2.")


PRESETS = {
    "tiny": ModelConfig(
        height=32,
        blocks=((16, 2, 2, 1), (32, 2, 2, 1), (64, 1, 1, 1), (96, 2, 1, 1)),
        columns=128,
        recurrent=(128, 128),
    ),
    "small": ModelConfig(height=32),
    "base": ModelConfig(height=40),
}


def preset(name: str) -> ModelConfig:
    """tiny, small or base."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def to_json(config: ModelConfig | TrainConfig) -> dict:
    """A config as plain JSON types."""
    return dataclasses.asdict(config)


def from_json(kind, values: dict):
    """The config of kind that values holds. ValueError names fields that this version does not know, or that hold
    something of another kind than their default."""
    known = {field.name: field.default for field in dataclasses.fields(kind)}
    if unknown := set(values) - set(known):
        raise ValueError(
            f"{kind.__name__} has no field {', '.join(sorted(unknown))}; it was written by another "
            "version of htr: update htr."
        )
    for name, value in values.items():
        default = known[name]
        if default not in (None, dataclasses.MISSING) and not _alike(value, default):
            raise ValueError(f"its {name} is {as_json(value)}, something like {as_json(default)} is needed.")
    return kind(**values)


def _alike(value: object, default: object) -> bool:
    """Whether a value of JSON is of the default's kind, lists down to the numbers in them."""
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_alike(each, default[0]) for each in value)
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def as_json(value: object) -> str:
    """A value in a sentence, as JSON writes it; its beginning only, where it is long.

    >>> as_json(None), as_json([True])
    ('null', '[true]')
    """
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
