"""All traces that this host was asked about: searched for, watched while they run, told of, let go."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from wbpf.agent.segments import Attached
from wbpf.agent.watched import Watched
from wbpf.recorder import Piece
from wbpf.wire import gather_pb2 as pb

#: A trace that seems to be over is looked at again at once: what was written before its end, in a chunk that
#: had been read by then, is there now. So often at most; one that never rests counts as running.
CONFIRM_MOST = 8
#: How often the watched traces' chunks are looked at: right after something has happened (the end of a trace
#: often follows its trigger at once), while something happens, and when nothing has for long.
POLL_FIRST_S = 0.002
POLL_S = 0.005
POLL_SLOW_S = 0.1
#: Looking takes no more than this share of the time.
POLL_SHARE = 0.1
SEARCH_SHARE = 0.5

#: So many cleared traces are remembered, the last ones.
CLEARED_MOST = 65_536

Ship = Callable[[Watched, Attached, Piece, int], None]


class Watching:
    """The watched traces.

    Args:
        segments: those of the host.
        ship: takes a piece to the collector.
        linger_s: how long a trace is watched after it was let go.
        most_s: how long if it never is.
        room: may more be read now? False while the collector does not keep up.
    """

    def __init__(
        self,
        segments: Iterable[Attached],
        ship: Ship,
        linger_s: float,
        most_s: float,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._segments = segments
        self._ship = ship
        self._linger_s = linger_s
        self._most_s = most_s
        self._room = room
        self._watched: dict[bytes, Watched] = {}
        self._numbers: dict[int, Watched] = {}
        self._fresh: dict[bytes, Watched] = {}
        self._releasing: dict[bytes, Watched] = {}
        self._changed: dict[bytes, Watched] = {}
        self._restless: list[Watched] = []
        self._active_s = 0.0
        self._poll_s = 0.0  # when the last poll ended
        self._cost_s = 0.0  # what one takes that searches for nothing new
        self._searched_s = 0.0  # when the last search ended
        self._search_cost_s = 0.0
        self._cleared: OrderedDict[bytes, None] = OrderedDict()
        self.session = 0
        self.searches = 0

    def __len__(self) -> int:
        return len(self._watched)

    def __iter__(self) -> Iterator[Watched]:
        return iter(self._watched.values())

    # ---- what the coordinator says ----

    def collect(self, collects: Iterable[pb.Collect], now_s: float) -> None:
        """These are wanted; those that are watched already are told of anew."""
        added = []
        for collect in collects:
            watched = self._watched.get(collect.trace_id)
            if watched is None:
                watched = Watched(collect.trace_id, collect.gather, self.session, now_s)
                self._watched[collect.trace_id] = self._fresh[collect.trace_id] = watched
                added.append(collect.trace_id)
            else:
                self._forget_number(watched)
                watched.number, watched.session = collect.gather, self.session
                watched.release_s = 0.0
                self._releasing.pop(watched.trace_id, None)
                watched.forget_told()
                watched.since_s = now_s
                self._changed[watched.trace_id] = watched
            watched.active_s = now_s
            self._numbers[collect.gather] = watched
        self._active_s = now_s
        if added:
            for attached in self._segments:
                attached.watch.add(added)

    def release(self, numbers: Iterable[int], now_s: float) -> None:
        """These are not wanted any more. They are watched a little longer, for what comes late."""
        for number in numbers:
            if (watched := self._numbers.get(number)) is not None:
                self._let_go(watched, now_s)

    def forget(self, trace_ids: Iterable[bytes], now_s: float) -> None:
        for trace_id in trace_ids:
            if (watched := self._watched.get(trace_id)) is not None:
                self._let_go(watched, now_s)

    def _forget_number(self, watched: Watched) -> None:
        # Another session may have given its number to another trace.
        if self._numbers.get(watched.number) is watched:
            del self._numbers[watched.number]

    def _let_go(self, watched: Watched, now_s: float) -> None:
        if watched.release_s:
            return
        watched.release_s = now_s + self._linger_s
        self._releasing[watched.trace_id] = watched

    def connected(self, session: int) -> None:
        """A coordinator is there; another one if the session is another."""
        for watched in self._watched.values():
            watched.forget_told()
        if session != self.session:
            self._numbers.clear()
            self._changed.clear()
        self.session = session

    def standing(self) -> list[pb.Watching]:
        """What is watched and was not let go."""
        return [
            pb.Watching(
                trace_id=watched.trace_id,
                gather=watched.number,
                session=watched.session,
                found=watched.records > 0,
            )
            for watched in self._watched.values()
            if not watched.release_s
        ]

    # ---- segments come and go ----

    def note_cleared(self, trace_ids: Iterable[bytes]) -> None:
        """These traces were cleared: they are not complete any more, whatever is found of them."""
        for trace_id in trace_ids:
            self._cleared[trace_id] = None
            self._cleared.move_to_end(trace_id)
            if trace_id in self._watched:
                self._lose_cleared(self._watched[trace_id])
        while len(self._cleared) > CLEARED_MOST:
            self._cleared.popitem(last=False)

    def _lose_cleared(self, watched: Watched) -> None:
        for attached in self._segments:
            watched.lose_now(attached)
        self._changed[watched.trace_id] = watched

    def attached(self, attached: Attached) -> None:
        if self._watched:
            attached.watch.add(list(self._watched))

    def removed(self, unix_ns: int) -> None:
        """A segment is gone: what was in it can't be told any more."""
        for watched in self._watched.values():
            watched.lose_at(unix_ns)
            self._changed[watched.trace_id] = watched

    # ---- looking ----

    def next_poll_s(self, now_s: float) -> float | None:
        """When to look next, monotonic; None: nothing is watched."""
        if not self._watched:
            return None
        if not self._room():
            return self._poll_s + POLL_SLOW_S / 4
        if self._fresh:
            return self._searched_s + min(self._search_cost_s / SEARCH_SHARE - self._search_cost_s, POLL_S)
        if len(self._releasing) == len(self._watched):
            return max(next(iter(self._releasing.values())).release_s, self._poll_s + POLL_S)
        pause_s = min(max((now_s - self._active_s) / 4, POLL_FIRST_S), POLL_SLOW_S)
        return self._poll_s + max(pause_s, self._cost_s / POLL_SHARE)

    def poll(self, now_s: float) -> None:
        """Look for what was written, ship it, note what has changed, let go what is due."""
        if not self._room():
            self._poll_s = now_s
            return
        began = time.thread_time()  # what it takes, not what others take meanwhile
        searching = bool(self._fresh)
        for watched in self._restless:
            watched.restless, watched.changed = False, True
            self._changed[watched.trace_id] = watched
        self._restless.clear()
        for watched in self._watched.values():
            if watched.writers:
                watched.look_for_dead(now_s)
                if watched.changed:
                    self._changed[watched.trace_id] = watched
        for attached in list(self._segments):
            self._poll_segment(attached, now_s)
        for trace_id, watched in self._fresh.items():
            watched.fresh = False
            self._changed[trace_id] = watched
            if trace_id in self._cleared:
                self._lose_cleared(watched)
        self._fresh.clear()
        self._expire(now_s)
        cost_s = time.thread_time() - began
        self._poll_s = now_s + cost_s
        if searching:
            # What the next look costs is not known from that: it reads only what has changed.
            self._search_cost_s, self._searched_s = cost_s, self._poll_s
        else:
            self._cost_s = cost_s

    def _poll_segment(self, attached: Attached, now_s: float) -> None:
        self.searches += bool(self._fresh)
        unsure: list[Watched] = []
        for _ in range(CONFIRM_MOST):
            pieces, lost_ticks, before_ticks = attached.poll()
            if lost_ticks:
                self._note_loss(attached, lost_ticks, before_ticks)
            touched: dict[bytes, Watched] = {}
            for piece in pieces:
                watched = self._watched.get(piece.trace_id)
                if watched is not None:
                    touched[piece.trace_id] = watched
                    watched.take(attached, piece, now_s)
                    self._ship(watched, attached, piece, attached.process(piece.process, now_s)[1])
            if touched:
                self._active_s = now_s
                self._changed.update(touched)
            unsure = [watched for watched in touched.values() if not watched.open_spans]
            if not unsure:
                return
        for watched in unsure:
            watched.restless = True
            self._restless.append(watched)

    def _note_loss(self, attached: Attached, lost_ticks: int, before_ticks: int) -> None:
        """Something was recycled: it matters to traces not looked for before, to others if it is news."""
        for watched in self._watched.values() if lost_ticks >= before_ticks else self._fresh.values():
            watched.lose(attached, lost_ticks)
            self._changed[watched.trace_id] = watched

    def _expire(self, now_s: float) -> None:
        gone = []
        for watched in self._releasing.values():
            if watched.release_s > now_s:
                break
            gone.append(watched)
        self._drop(gone)

    def expire_unreleased(self, now_s: float) -> None:
        """Let go of what nobody has asked for in a long time."""
        self._drop([w for w in self._watched.values() if now_s - w.since_s > self._most_s])

    def _drop(self, gone: list[Watched]) -> None:
        for watched in gone:
            del self._watched[watched.trace_id]
            self._releasing.pop(watched.trace_id, None)
            self._fresh.pop(watched.trace_id, None)
            if watched.trace_id not in self._changed:
                self._forget_number(watched)
        if gone:
            ids = [watched.trace_id for watched in gone]
            for attached in self._segments:
                attached.watch.remove(ids)

    def close(self) -> None:
        """Let go of everything at once."""
        self._drop(list(self._watched.values()))
        self._numbers.clear()
        self._changed.clear()
        self._restless.clear()

    # ---- what to tell ----

    def news(self, most: int) -> list[pb.Found]:
        """What has changed and the coordinator is to know."""
        founds: list[pb.Found] = []
        for trace_id in list(self._changed):
            if len(founds) >= most:
                break
            watched = self._changed.pop(trace_id)
            if watched.session != self.session or watched.fresh or not (watched.changed or not watched.told):
                continue
            founds.append(watched.say())
            if trace_id not in self._watched:
                self._forget_number(watched)
        return founds
