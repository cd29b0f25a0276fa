"""An API client: a thousand requests, fifty at a time, tried again when that may help.

    python examples/web_service.py &
    python examples/api_client.py "http://127.0.0.1:8000/slow/{n}" --output answers.jsonl

`{n}` in the URL becomes the number of the request. The exit code is 0 when every request has been
answered, 1 when one has failed for good, and 130 after Ctrl-C.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn, TextIO

import aiohttp
from tqdm import tqdm

FAILURES = (aiohttp.ClientError, TimeoutError, json.JSONDecodeError)


@dataclass
class Report:
    """What has happened so far."""

    latencies: list[float] = field(default_factory=list)  # seconds, of the attempts that succeeded
    failures: list[str] = field(default_factory=list)
    retries: int = 0

    def summary(self, seconds: float) -> str:
        """Describe a run that took `seconds`."""
        done = len(self.latencies)
        lines = [
            f"{done} succeeded, {len(self.failures)} failed, {self.retries} retries",
            f"{seconds:.2f} s, {done / seconds:.0f} requests/s",
        ]
        if done > 1:
            cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
            ms = [f"{name} {1000 * cuts[int(name[1:]) - 1]:.1f}" for name in ("p50", "p90", "p99")]
            lines.append(f"latency in ms: {', '.join(ms)}, max {1000 * max(self.latencies):.1f}")
        return "\n".join(lines + [f"failed: {failure}" for failure in self.failures[:10]])


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: a busy server, yes; a wrong request, no."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status >= 500 or error.status == 429
    return True


class Client:
    """Sends the requests and keeps the report."""

    def __init__(self, session: aiohttp.ClientSession, args: argparse.Namespace, report: Report):
        self.session, self.args, self.report = session, args, report

    async def get(self, url: str) -> Any:
        """Return the JSON that `url` answers; raises what the last attempt raised."""
        attempt = 0
        while True:
            start = time.perf_counter()
            try:
                async with self.session.get(url) as response:
                    answer = await response.json()
            except FAILURES as error:
                if attempt == self.args.retries or not may_pass(error):
                    raise
            else:
                self.report.latencies.append(time.perf_counter() - start)
                return answer
            # Exponential back-off with full jitter: clients that failed together come back apart.
            await asyncio.sleep(random.uniform(0, self.args.backoff * 2**attempt))
            attempt += 1
            self.report.retries += 1

    async def work(
        self, numbers: Iterator[int], output: TextIO | None, bar: "tqdm[NoReturn]"
    ) -> None:
        """Take numbers until there are none left: as many run at a time as there are workers."""
        for n in numbers:
            url = self.args.url.replace("{n}", str(n))
            try:
                answer = await self.get(url)
            except FAILURES as error:
                self.report.failures.append(f"{url}: {error or type(error).__name__}")
            else:
                if output:
                    print(json.dumps({"n": n, "answer": answer}), file=output)
            bar.update()


async def run(args: argparse.Namespace, report: Report) -> None:
    """Send all the requests."""
    numbers = iter(range(1, args.requests + 1))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=args.concurrency),
        timeout=aiohttp.ClientTimeout(total=args.timeout),
        raise_for_status=True,
    ) as session:
        client = Client(session, args, report)
        with (
            open(args.output, "w") if args.output else nullcontext() as output,
            tqdm(total=args.requests, unit="req") as bar,
        ):
            async with asyncio.TaskGroup() as workers:
                for _ in range(args.concurrency):
                    workers.create_task(client.work(numbers, output, bar))


def parse_args() -> argparse.Namespace:
    """Read the command line."""

    def positive(text: str) -> int:
        number = int(text)
        if number < 1:
            raise ValueError
        return number

    def http_url(text: str) -> str:
        if not text.startswith(("http://", "https://")):
            raise ValueError
        return text

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "url",
        nargs="?",
        type=http_url,
        default="http://127.0.0.1:8000/slow/{n}",
        help="%(default)s",
    )
    parser.add_argument("--requests", type=positive, default=1000, metavar="N", help="%(default)s")
    parser.add_argument("--concurrency", type=positive, default=50, metavar="N", help="%(default)s")
    parser.add_argument("--retries", type=int, default=5, metavar="N", help="%(default)s a request")
    parser.add_argument(
        "--backoff", type=float, default=0.1, metavar="S", help="%(default)s s, doubled every time"
    )
    parser.add_argument(
        "--timeout", type=float, default=10, metavar="S", help="%(default)s s an attempt"
    )
    parser.add_argument("--output", metavar="FILE", help="where the answers go, as lines of JSON")
    return parser.parse_args()


def main() -> int:
    """Send the requests, print the summary, return the exit code."""
    args, report, start = parse_args(), Report(), time.perf_counter()
    try:
        asyncio.run(run(args, report))
        return 1 if report.failures else 0
    except KeyboardInterrupt:
        return 130
    finally:
        print(report.summary(time.perf_counter() - start))


if __name__ == "__main__":
    sys.exit(main())
