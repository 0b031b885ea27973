"""What a check comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from wbpf.bpf.features import Answer, Have


@dataclass
class Finding:
    """A program's prospects.

    Args:
        loads: yes, no, or could not tell.
        attaches: the same, of the place that its section names; None if one has to be given.
        reasons: every answer that is not yes, those that keep it from loading first.
    """

    object: str
    program: str
    section: str
    loads: Have = Have.YES
    attaches: Have | None = None
    reasons: list[Answer] = field(default_factory=list)

    def load_needs(self, answer: Answer) -> None:
        """Take an answer into account that loading depends on."""
        self.loads = _worse(self.loads, answer.have)
        if not answer:
            self.reasons.append(answer)

    def attach_needs(self, answer: Answer) -> None:
        """Take an answer into account that attaching depends on."""
        self.attaches = _worse(self.attaches or Have.YES, answer.have)
        if not answer and answer not in self.reasons:
            self.reasons.append(answer)


def _worse(one: Have, other: Have) -> Have:
    order = (Have.NO, Have.UNKNOWN, Have.YES)
    return min(one, other, key=order.index)
