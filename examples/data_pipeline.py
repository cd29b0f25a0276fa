"""A data pipeline: producers read orders, workers price them, one writer writes lines of JSON.

    python examples/data_pipeline.py generate orders.csv --rows 10000
    python examples/data_pipeline.py run orders.csv > totals.jsonl

Bounded queues join the stages: when the writer falls behind, the workers wait, then the readers.
SIGINT or SIGTERM stops the reading; what has been accepted by then is still priced and written,
and the exit code is 128 plus the signal. A second signal ends the program at once.
"""

import argparse
import asyncio
import csv
import json
import random
import signal
import sys
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import TextIO

EURO_IN = {"EUR": Decimal(1), "USD": Decimal("1.08"), "GBP": Decimal("0.85"), "JPY": Decimal(162)}
LINES_A_READ = 200

Order = dict[str, str]


async def look_up_rate(currency: str, seconds: float) -> Decimal:
    """Return what a euro is worth; takes `seconds`, as a remote service would."""
    await asyncio.sleep(seconds)
    return EURO_IN[currency]


async def price(order: Order, lookup_seconds: float) -> Order:
    """Return the order's total in euros, or what is wrong with the order."""
    try:
        amount = int(order["quantity"]) * Decimal(order["unit_price"])
        rate = await look_up_rate(order["currency"], lookup_seconds)
    except (KeyError, ValueError, InvalidOperation) as error:
        return {"id": order["id"], "error": repr(error)}
    return {"id": order["id"], "total": str((amount / rate).quantize(Decimal("0.01")))}


class Pipeline:
    """The stages, the queues between them, and the counters."""

    def __init__(self, queue_size: int, lookup_seconds: float):
        # None marks the end of each queue.
        self.orders: asyncio.Queue[Order | None] = asyncio.Queue(queue_size)
        self.results: asyncio.Queue[Order | None] = asyncio.Queue(queue_size)
        self.lookup_seconds = lookup_seconds
        self.accepted = self.written = self.rejected = self.peak = 0
        self.stopped_by = 0

    async def run(self, inputs: list[Path], workers: int, output: TextIO) -> None:
        """Take every order of `inputs` to `output`; each stage ends after the one before it."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.stop, signum, task)
        async with asyncio.TaskGroup() as writer:
            writer.create_task(self.write(output))
            async with asyncio.TaskGroup() as pricers:
                for _ in range(workers):
                    pricers.create_task(self.work())
                async with asyncio.TaskGroup() as producers:
                    for path in inputs:
                        producers.create_task(self.produce(path))
                for _ in range(workers):
                    await self.orders.put(None)
            await self.results.put(None)

    def stop(self, signum: int, task: asyncio.Task[None]) -> None:
        """Accept nothing more; the second time, give up."""
        if self.stopped_by:
            task.cancel()
            return
        self.stopped_by = signum
        print("stopping: no more is read, what was read is finished", file=sys.stderr, flush=True)

    async def produce(self, path: Path) -> None:
        """Read a file, in a thread and a few lines at a time; wait while the queue is full."""
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            while batch := await asyncio.to_thread(lambda: list(islice(reader, LINES_A_READ))):
                for order in batch:
                    if self.stopped_by:
                        return
                    await self.orders.put(order)
                    self.accepted += 1
                    self.peak = max(self.peak, self.accepted - self.written)

    async def work(self) -> None:
        """Price orders until there are no more."""
        while (order := await self.orders.get()) is not None:
            await self.results.put(await price(order, self.lookup_seconds))

    async def write(self, output: TextIO) -> None:
        """Write the results, in a thread and as many at a time as there are."""
        batch: list[Order | None] = [{}]
        while batch[-1] is not None:
            batch = [await self.results.get()]
            while not self.results.empty():
                batch.append(self.results.get_nowait())
            results = [result for result in batch if result is not None]
            await asyncio.to_thread(self.write_lines, results, output)

    def write_lines(self, results: list[Order], output: TextIO) -> None:
        """Write and count in the thread: who gives up waiting for it still reports what it wrote."""
        lines = [json.dumps(result) + "\n" for result in results]
        print(*lines, sep="", end="", file=output, flush=True)
        self.written += len(results)
        self.rejected += sum("error" in result for result in results)


def generate(path: Path, rows: int, seed: int) -> None:
    """Write a file of random orders; one in a hundred is wrong, as in life."""
    choose = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "currency", "quantity", "unit_price"])
        for n in range(1, rows + 1):
            quantity = "many" if choose.random() < 0.01 else choose.randint(1, 20)
            unit_price = f"{choose.uniform(1, 500):.2f}"
            writer.writerow([f"{path.stem}-{n}", choose.choice([*EURO_IN]), quantity, unit_price])


def parse_args() -> argparse.Namespace:
    """Read the command line."""

    def positive(text: str) -> int:
        number = int(text)
        if number < 1:
            raise ValueError
        return number

    def existing(text: str) -> Path:
        path = Path(text)
        if not path.is_file():
            raise argparse.ArgumentTypeError(f"no such file: {text}")
        return path

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("generate", help="write a file of random orders")
    make.add_argument("file", type=Path)
    make.add_argument("--rows", type=positive, default=10_000, help="default: %(default)s")
    make.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    run = commands.add_parser("run", help="price the orders")
    run.add_argument("inputs", nargs="+", type=existing, metavar="file")
    run.add_argument("--output", type=Path, help="default: the standard output")
    run.add_argument("--workers", type=positive, default=8, help="default: %(default)s")
    run.add_argument("--queue-size", type=positive, default=100, help="default: %(default)s")
    run.add_argument(
        "--lookup-seconds", type=float, default=0.0, help="cost of a rate (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Run the command and return the exit code."""
    args = parse_args()
    if args.command == "generate":
        generate(args.file, args.rows, args.seed)
        return 0
    pipeline = Pipeline(args.queue_size, args.lookup_seconds)
    output = args.output.open("w") if args.output else sys.stdout
    try:
        with output:
            asyncio.run(pipeline.run(args.inputs, args.workers, output))
    except asyncio.CancelledError:
        print("given up: what was in flight is lost", file=sys.stderr)
    print(
        f"accepted {pipeline.accepted}, written {pipeline.written}, "
        f"of which {pipeline.rejected} rejected; at most {pipeline.peak} in flight",
        file=sys.stderr,
    )
    return 128 + pipeline.stopped_by if pipeline.stopped_by else 0


if __name__ == "__main__":
    sys.exit(main())
