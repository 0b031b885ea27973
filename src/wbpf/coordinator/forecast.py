"""Which hosts a trace will turn out to have touched, guessed from earlier traces of the same trigger.

Breadcrumbs lead from host to host, one answer after another. Hosts that usually take part are asked at once,
so that a gather takes as long as one host's answer, not as long as the chain. A wrong guess costs a question
and a search; a missing one costs time only.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Ask a host that took part in at least this share of the last traces.
LIKELY = 0.5
#: The last so many count.
MEMORY = 16
TRIGGERS_MOST = 512
HOSTS_MOST = 64


class Forecast:
    """Shares of traces in which hosts took part, by trigger."""

    def __init__(self) -> None:
        self._shares: dict[str, dict[int, float]] = {}

    def likely(self, trigger: str) -> list[int]:
        """Ids of the hosts to ask at once."""
        return [host for host, share in self._shares.get(trigger, {}).items() if share >= LIKELY]

    def learn(self, trigger: str, took_part: Iterable[int]) -> None:
        """A trace of this trigger is over."""
        shares = self._shares.get(trigger)
        if shares is None:
            if len(self._shares) >= TRIGGERS_MOST:
                return
            self._shares[trigger] = dict.fromkeys(list(took_part)[:HOSTS_MOST], 1.0)
            return
        took = set(took_part)
        for host in list(shares):
            shares[host] += ((host in took) - shares[host]) / MEMORY
            if shares[host] < LIKELY / MEMORY:
                del shares[host]
        for host in took:
            if host not in shares and len(shares) < HOSTS_MOST:
                shares[host] = 1 / MEMORY
