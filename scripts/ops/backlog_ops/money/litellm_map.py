"""LiteLLM's price map: found in a JSON file, a wheel or an installed package, and read model by model.

Nothing of the package is imported or run: importing LiteLLM takes seconds, and a price list is data.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from backlog_ops.domain.pricing import Price, Rates
from backlog_ops.domain.text import UNSAFE, one_line, quote
from backlog_ops.errors import UsageError

MAP_NAME = re.compile(r"model_prices_and_context_window[\w.-]*\.json")
MAX_BYTES = 32_000_000  # ten times the map of 2026
LONGEST_NAME = 100
ANSWER_SECONDS = 10.0
# The interpreter looks the package up where it would import it from; find_spec imports nothing of a top-level name.
ASK_FOLDER = (
    "import importlib.util, sys; spec = importlib.util.find_spec(sys.argv[1]); "
    "print(*(spec and spec.submodule_search_locations or ()), sep='\\n')"
)

TOKEN_KEYS = (
    "input_cost_per_token",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "cache_read_input_token_cost",
    "output_cost_per_token",
)
STEP_KEY = re.compile(rf"(?:{'|'.join(TOKEN_KEYS)})_above_(\d{{1,6}})k_tokens")
LEAST, MOST = Decimal("1e-12"), Decimal("0.01")  # dollars a token; everything sold so far is far inside
DIGITS = Decimal("1e-9")  # of dollars per million tokens; what is smaller is noise of a program's floats


@dataclass(frozen=True)
class PriceMap:
    name: str  # for the source of a price
    place: str  # for messages
    entries: Mapping[str, Any]  # model id → what the map says of it; nothing in it is checked yet

    def claude_models(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for model, entry in self.entries.items():
            if isinstance(entry, dict) and entry.get("litellm_provider") == "anthropic" and entry.get("mode") == "chat":
                yield model, entry


def read_map(named: str, environ: Mapping[str, str]) -> PriceMap:
    """The price map in `named`: a JSON file, a wheel, or the name of a package that is installed for this Python or
    for the `python3` on the PATH. Raises UsageError.
    """
    file = Path(named)
    try:
        if file.is_file():
            return _of_wheel(file) if file.suffix == ".whl" else _of_json(file, one_line(file.name, LONGEST_NAME))
        if not named.isidentifier():
            raise UsageError(f"{quote(named)}: there is no such file, and no package has such a name")
        return _of_package(named, environ)
    except OSError as error:
        raise UsageError(f"{quote(named)}: cannot be read: {error.strerror or error}") from error


def _of_json(file: Path, name: str) -> PriceMap:
    with file.open("rb") as stream:
        return PriceMap(name, str(file), _parsed(stream.read(MAX_BYTES + 1), str(file)))


def _of_wheel(file: Path) -> PriceMap:
    try:
        with zipfile.ZipFile(file) as wheel:
            members = [name for name in wheel.namelist() if MAP_NAME.fullmatch(name.rpartition("/")[2])]
            if not members:
                raise UsageError(f"{file}: no price map in it (model_prices_and_context_window….json)")
            place = f"{file}/{members[0]}"
            with wheel.open(members[0]) as stream:
                return PriceMap(one_line(file.name, LONGEST_NAME), place, _parsed(stream.read(MAX_BYTES + 1), place))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{file}: no readable wheel: {error}") from error


def _of_package(package: str, environ: Mapping[str, str]) -> PriceMap:
    folders = [folder for python in (sys.executable, "python3") for folder in _folders(python, package, environ)]
    if not folders:
        remedy = "name its folder's JSON file or a wheel instead, or start in the environment that has it"
        raise UsageError(f"{package}: there is no such file, and no such package is installed; {remedy}")
    for folder in folders:
        for file in sorted(folder.glob("*.json")):
            if MAP_NAME.fullmatch(file.name):
                return _of_json(file, f"{package} {_version(folder, package)}".strip())
    raise UsageError(f"{package}: no price map (model_prices_and_context_window….json) in {folders[0]}")


def _version(folder: Path, package: str) -> str:
    """As the folder beside the package tells it: `litellm-1.109.1.dist-info`."""
    beside = sorted(folder.parent.glob(f"{package}-*.dist-info"))
    return one_line(beside[-1].name[len(package) + 1 : -len(".dist-info")], LONGEST_NAME) if beside else ""


def _folders(python: str, package: str, environ: Mapping[str, str]) -> list[Path]:
    """Where `python` has `package`, or would have it. No Python, no folders."""
    command = [python, "-c", ASK_FOLDER, package]
    try:
        done = subprocess.run(
            command,
            cwd="/",  # -c puts the current folder first, and what lies there is not installed
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [Path(line) for line in done.stdout.decode("utf-8", "replace").splitlines() if line]


def _parsed(content: bytes, place: str) -> Mapping[str, Any]:
    if len(content) > MAX_BYTES:
        raise UsageError(f"{place}: is larger than {MAX_BYTES:,} bytes: this is no price map")
    try:
        entries = json.loads(content, parse_float=Decimal)  # floats would turn 0.1 into 0.1000000000000000055…
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise UsageError(f"{place}: no valid JSON: {error}") from error
    if not isinstance(entries, dict):
        raise UsageError(f"{place}: must be a JSON object of models: this is no price map")
    return entries


def price_of(entry: Mapping[str, Any], since: str, map_name: str) -> tuple[Price | None, list[str]]:
    """The price in one entry of a map, or every reason why it cannot be used."""
    problems: list[str] = []
    rates = _rates(entry, "", problems)
    steps = sorted({int(found[1]) for key in entry if (found := STEP_KEY.fullmatch(key))})
    if len(steps) > 1:
        problems.append(f"has {len(steps)} steps for long prompts (above {', '.join(map(str, steps))}k tokens)")
    long_rates = _rates(entry, f"_above_{steps[0]}k_tokens", problems) if len(steps) == 1 else None
    if rates is None or problems:
        return None, problems
    page = entry.get("source")
    is_page = isinstance(page, str) and page.startswith("https://") and len(page) < 200 and not UNSAFE.search(page)
    source = f"{page} through {map_name}" if is_page else map_name
    long_above = steps[0] * 1_000 if steps else None
    return Price(since, rates, long_above, long_rates, _batch_factor(entry), source), []


def _rates(entry: Mapping[str, Any], ending: str, problems: list[str]) -> Rates | None:
    found = [_dollars(entry, key + ending, problems) for key in TOKEN_KEYS]
    numbers = [number for number in found if number is not None]
    return Rates(*numbers) if len(numbers) == len(TOKEN_KEYS) else None


def _dollars(entry: Mapping[str, Any], key: str, problems: list[str]) -> Decimal | None:
    """Per million tokens."""
    if key not in entry:
        problems.append(f"{key} is missing")
        return None
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        problems.append(f"{key} is {quote(json.dumps(value, default=str))}, not a number")
        return None
    if not LEAST <= value <= MOST:
        problems.append(f"{key} is {quote(str(value))}: no price per token")
        return None
    return (Decimal(value) * 1_000_000).quantize(DIGITS).normalize()


def _batch_factor(entry: Mapping[str, Any]) -> Decimal | None:
    """The part of every rate that a call in a batch costs, if the map tells one for all."""
    factors = set()
    for key in TOKEN_KEYS:
        value, whole = entry.get(f"{key}_batches"), entry[key]
        if isinstance(value, Decimal) and 0 < value <= whole:
            factors.add((value / whole).quantize(Decimal("1e-6")).normalize())
    return factors.pop() if len(factors) == 1 else None
