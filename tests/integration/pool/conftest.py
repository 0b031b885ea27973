from __future__ import annotations

from tests.unit.pool.conftest import a, b, make_pool, pool

__all__ = ["a", "b", "make_pool", "pool"]
