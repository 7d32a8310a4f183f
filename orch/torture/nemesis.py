"""Does the strikes of a plan to a world: who is hit is chosen among those who live, what was done is written down.

At most one fault troubles the store at a time; a strike that finds it in trouble, or finds nobody, is passed over.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

from orch.torture.forks import Forks
from orch.torture.member import HOLD, PRODUCE, WORK, Orders
from orch.torture.plan import Strike
from orch.torture.store import RedisStore, ReplicatedRedis, SqliteStore
from orch.torture.world import Hit, Lane, World

PRODUCER_SHARE = 0.1  # of the kills
DISK_SPARE = 256 * 1024  # bytes that a member's own history may still grow while its disk is full

Told = tuple[str, Callable[[], None]]  # what was done to the store, and what heals it


class Nemesis:
    """Strikes a world at the instants of its plan. `struck` counts what hit something."""

    def __init__(self, world: World, strikes: Sequence[Strike]) -> None:
        self.world = world
        self.struck: Counter[str] = Counter()
        self._strikes = list(strikes)
        self._rng = random.Random(f"{world.plan.seed}/nemesis")

    def act(self) -> None:
        """Strike what is due."""
        while self._strikes and self._strikes[0].at_s <= self.world.at_s:
            self.strike(self._strikes.pop(0))

    def strike(self, strike: Strike) -> bool:
        """Do one strike now; False if there is nobody to hit."""
        hit = self._hit(strike)
        self.struck[strike.fault] += hit
        return hit

    def _hit(self, strike: Strike) -> bool:
        match strike.fault:
            case "kill":
                return self._kill(strike)
            case "pause":
                return self._pause(strike)
            case "partition":
                return self._cut(strike)
            case "disk":
                return self._fill_disk(strike)
            case "restart" | "outage" | "power" | "memory" | "failover":
                return self._trouble(strike)
        raise AssertionError(f"{strike.fault} is not struck")

    def _noted(self, strike: Strike, lane: Lane | None, text: str, seconds: float = 0.0) -> None:
        now = time.monotonic_ns()
        name = "" if lane is None else lane.name
        self.world.seen.hits.append(Hit(now, now + round(seconds * 1e9), strike.fault, name, text))

    def _pick(self, strike: Strike, lanes: Sequence[Lane]) -> Lane | None:
        return lanes[int(strike.pick * len(lanes))] if lanes else None

    # -- processes -------------------------------------------------------------------------------------------------

    def _kill(self, strike: Strike) -> bool:
        role = PRODUCE if self._rng.random() < PRODUCER_SHARE else WORK
        lane = self._pick(strike, [lane for lane in self.world.alive(role) if lane.why is None])
        if lane is None:
            return False
        self.world.kill(lane, "kill")
        self._noted(strike, lane, "kill -9")
        return True

    def _pause(self, strike: Strike) -> bool:
        world = self.world
        lane = self._pick(strike, [lane for lane in world.alive(WORK, PRODUCE) if not lane.paused and lane.why is None])
        if lane is None:
            return False
        life = lane.life
        lane.paused = True
        world.signal(lane, signal.SIGSTOP)

        def resume() -> None:
            if lane.life == life:
                lane.paused = False
                world.signal(lane, signal.SIGCONT)

        world.later(strike.seconds, resume)
        self._noted(strike, lane, f"stopped for {strike.seconds:.1f} s", strike.seconds)
        return True

    def _fill_disk(self, strike: Strike) -> bool:
        world = self.world
        lane = self._pick(strike, [lane for lane in world.alive(WORK) if lane.why is None])
        if lane is None or lane.pid is None or lane.orders is None:
            return False
        pid = lane.pid
        files = (lane.orders.history, lane.orders.notes)
        own = max((path.stat().st_size for path in files if path.exists()), default=0)
        lane.forks.limit(pid, own + DISK_SPARE)
        world.later(strike.seconds, lambda: lane.forks.limit(pid, None))
        self._noted(strike, lane, f"no file may grow beyond {own + DISK_SPARE} bytes", strike.seconds)
        return True

    # -- the wire --------------------------------------------------------------------------------------------------

    def _cut(self, strike: Strike) -> bool:
        world, proxy = self.world, self.world.store.proxy
        if proxy is None:
            return False
        if strike.how != "isolate":
            proxy.cut(strike.how, seconds=strike.seconds)
            self._noted(strike, None, f"{strike.how}")
            return True
        lane = self._pick(strike, world.alive(WORK))
        if lane is None:
            return False
        proxy.isolate(lane.name, strike.seconds)
        self._noted(strike, lane, f"cut off for {strike.seconds:.1f} s", strike.seconds)
        return True

    # -- the store -------------------------------------------------------------------------------------------------

    def _trouble(self, strike: Strike) -> bool:
        world = self.world
        if world.busy is not None:
            return False
        match world.store:
            case RedisStore() as store:
                text, heal = self._trouble_redis(strike, store)
            case ReplicatedRedis() as store:
                if not store.in_sync:
                    return False
                text, heal = store.fail_over(), store.rejoin
            case SqliteStore() as store:
                text, heal = self._trouble_sqlite(strike, store)
            case _:
                raise AssertionError(f"{strike.fault} was planned for a store that is not ours")
        world.busy = strike.fault

        def better() -> None:
            heal()
            world.busy = None

        world.later(strike.seconds, better)
        self._noted(strike, None, text, strike.seconds)
        return True

    def _trouble_redis(self, strike: Strike, store: RedisStore) -> Told:
        match strike.fault:
            case "memory":
                store.fill_memory()
                return "no memory for writes", store.free_memory
            case "power":
                return store.cut_power(self._rng), store.start
            case "outage" if strike.pick < 0.5:
                store.server.pause()
                return "the server is stopped and does not answer", store.server.resume
            case _:
                store.kill()
                return "the server is down", store.start

    def _trouble_sqlite(self, strike: Strike, store: SqliteStore) -> Told:
        world = self.world
        if strike.fault == "outage":
            lane = self._hold(strike)
            return "the file is locked", lambda: world.signal(lane, signal.SIGTERM)
        for lane in world.alive():
            world.kill(lane, strike.fault)
        world.until_dead()
        return "every process is killed at once" if strike.fault == "restart" else store.cut_power(self._rng), _nothing

    def _hold(self, strike: Strike) -> Lane:
        """A process that keeps the file locked for the time of a strike."""
        world = self.world
        lane = Lane(f"hold{self.struck['outage']}", HOLD, self._forks(), skewed=False, life=1)
        world.lanes.append(lane)
        assert isinstance(world.store, SqliteStore)
        orders = Orders(
            role=HOLD,
            lane=lane.name,
            life=1,
            url=str(world.store.path),
            folder=str(world.folder / "members"),
            prefix="",
            lease_s=world.plan.lease_s,
            seconds=strike.seconds,
        )
        world.run_member(lane, orders)
        return lane

    def _forks(self) -> Forks:
        return next(lane.forks for lane in self.world.lanes if not lane.skewed)


def _nothing() -> None:
    """It heals by itself."""
