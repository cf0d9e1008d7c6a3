"""Floor 0: what the config.json of a stranger may say, before any network is built of it."""

import dataclasses

from htr.config import ModelConfig, as_json


def check(settings: dict) -> None:
    """ValueError where a setting is of another kind than `save` writes."""
    kinds = {"alphabet": "", "objective": "", "objective_options": {}, "training": {}, "model": {}}
    for name, kind in kinds.items():
        if not isinstance(value := settings.get(name, kind), type(kind)):
            raise ValueError(f"its {name} is {as_json(value)}, {'an object' if kind == {} else 'text'} is needed.")
    if settings["alphabet"] != settings["alphabet"].encode("utf-8", "replace").decode():
        raise ValueError("its alphabet holds halves of characters.")
    numbers = {"temperature": settings.get("temperature", 1.0), **settings.get("objective_options", {})}
    for name, value in numbers.items():
        if type(value) not in (int, float) or not abs(value) <= 1e300:  # NaN is not, nor what no float can hold
            raise ValueError(f"its {name} is {as_json(value)}, a number is needed.")
    if not 1e-3 <= numbers["temperature"] <= 1e3:
        raise ValueError(f"its temperature is {numbers['temperature']!r}, a number from 0.001 to 1000 is needed.")


def check_network(config: ModelConfig) -> None:
    """ValueError where a field is beyond any network that is trained."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, int | float) and not 0 <= value <= 1 << 16:
            raise ValueError(f"its {field.name} is {value!r}, 0 to 65536 is possible.")
    most = (1 << 16, 64, 64, 64)
    if len(config.blocks) > 64 or any(a > b for block in config.blocks for a, b in zip(block, most, strict=True)):
        raise ValueError(f"its blocks are more than 64 stages, or beyond {most}, in one of them.")
    if len(config.recurrent) > 64 or max(config.recurrent) > 1 << 16:
        raise ValueError("its recurrent layers are more than 64, or one has more than 65536 units.")


def least_weights(config: ModelConfig, classes: int) -> int:
    """The number of weights in a network's convolutions, LSTMs and dense layers."""
    count, channels, height = 0, 1, config.height
    for filters, stride, _, convolutions in config.blocks:
        count += 9 * filters * (channels + (convolutions - 1) * filters)
        channels, height = filters, -(-height // stride)
    count, width = count + channels * height * config.columns, config.columns
    for units in config.recurrent:
        count, width = count + 8 * units * (width + units), 2 * units
    return count + width * classes
