"""Damage to messages of the wire: any protobuf message, by its own description."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

ODD = (
    0,
    1,
    2,
    3,
    7,
    64,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
TEXTS = ("", "a", "b", "..", "a/b", "x" * 64, "\u202eabc", "\x1b[2J", "é" * 40, "y" * 5000)
_BITS = {Field.CPPTYPE_INT32: 31, Field.CPPTYPE_UINT32: 32, Field.CPPTYPE_INT64: 63, Field.CPPTYPE_UINT64: 64}


def damage(message: Message, rng: random.Random, ids: list[bytes]) -> None:
    """Change one field somewhere inside; `ids` are trace ids that mean something to somebody."""
    described = rng.choice(message.DESCRIPTOR.fields) if message.DESCRIPTOR.fields else None
    filled = [field for field, _ in message.ListFields()]
    if filled and rng.random() < 0.8:
        described = rng.choice(filled)
    if described is None:
        return
    if described.is_repeated:
        _damage_list(getattr(message, described.name), described, rng, ids)
    elif described.message_type:
        if rng.random() < 0.1:
            message.ClearField(described.name)
        else:
            part = getattr(message, described.name)
            part.SetInParent()
            damage(part, rng, ids)
    elif described.cpp_type == Field.CPPTYPE_ENUM or rng.random() < 0.95:
        setattr(message, described.name, _value(described, rng, ids, getattr(message, described.name)))
    else:
        message.ClearField(described.name)


def _damage_list(items: Any, described: Field, rng: random.Random, ids: list[bytes]) -> None:
    chance = rng.random()
    if items and chance < 0.15:
        del items[rng.randrange(len(items))]
    elif items and chance < 0.3:  # said twice, or very often
        items.extend(list(items) * (1 if rng.random() < 0.9 else 200 // len(items)))
    elif described.message_type:
        damage(rng.choice(items) if items and chance < 0.9 else items.add(), rng, ids)
    elif items and chance < 0.7:
        items[rng.randrange(len(items))] = _value(described, rng, ids, items[0])
    else:
        items.append(_value(described, rng, ids, None))


def _value(described: Field, rng: random.Random, ids: list[bytes], now: Any) -> Any:
    kind = described.cpp_type
    if described.type == Field.TYPE_BYTES:
        return rng.choice(
            (rng.choice(ids), b"", bytes(16), rng.randbytes(rng.choice((1, 8, 15, 17, 32, 64, 4096))))
        )
    if kind == Field.CPPTYPE_STRING:
        return rng.choice(TEXTS)
    if kind == Field.CPPTYPE_BOOL:
        return not now
    if kind in (Field.CPPTYPE_DOUBLE, Field.CPPTYPE_FLOAT):
        return rng.choice((0.0, -1.0, 1e308, float("inf"), float("nan")))
    if kind == Field.CPPTYPE_ENUM:
        return rng.choice((0, 1, 2, 3, 4, 99))
    value = rng.choice(ODD) if now is None or rng.random() < 0.6 else now + rng.randrange(-3, 4)
    most = (1 << _BITS[kind]) - 1
    return max(0, min(value, most))
