"""What callbacks may change in the frames of those that called them.

A callback runs any number of times while a helper is called. What the frames around it hold is taken for
unchanged but where some way through it writes. When bytes are found to be written whose content was taken to
stay, the whole program is looked at again, without that trust.
"""

from __future__ import annotations

from wbpf.bpf.user.isa import STACK_BYTES
from wbpf.bpf.user.verifier.ranges import Range
from wbpf.bpf.user.verifier.state import State, caller_of

Place = tuple[int, int]


class Callbacks:
    """Bytes of outer frames, a bit for each, by the call of the helper and the number of the frame."""

    def __init__(self) -> None:
        self._written: dict[Place, int] = {}
        self._trusted: dict[Place, int] = {}
        self.was_deceived = False

    def again(self) -> None:
        """Begin anew, with what was found to be written."""
        self._trusted.clear()
        self.was_deceived = False

    def trust(self, state: State, at: int, deepest: int) -> None:
        """Forget what a callback may change that is called from now on.

        Args:
            state: before the call; it forgets.
            at: the call of the helper.
            deepest: of the frames that the callback gets an address in; numbers in them are likely to change.
        """
        for n, frame in enumerate(state.frames):
            written = self._written.get((at, n), 0)
            trusted = 0
            for place, (size, value) in list(frame.slots.items()):
                bits = ((1 << size) - 1) << place
                if bits & written or (n <= deepest and isinstance(value, Range)):
                    del frame.slots[place]
                else:
                    trusted |= bits
            self._trusted[at, n] = self._trusted.get((at, n), 0) | trusted

    def note_write(self, state: State, number: int, low: int, bytes_: int) -> None:
        """Bytes of a frame are written, or may be; they count from its low end."""
        for frame in state.frames[number + 1 :]:
            if frame.back < -1:
                place = caller_of(frame.back), number
                bits = ((1 << bytes_) - 1) << max(low, 0)
                self._written[place] = self._written.get(place, 0) | bits
                self.was_deceived |= bool(bits & self._trusted.get(place, 0))

    def note_any_write(self, state: State) -> None:
        """Something is written nobody knows where."""
        for n in range(len(state.frames)):
            self.note_write(state, n, 0, STACK_BYTES)
