"""One of Python's ways to two worker processes, to be measured by bench/peers.

    python3 peer.py processpool|joblib|dask|dask-inf

The first line it prints says which versions it found, or why it cannot start. Then it
reads a request a line and prints an answer a line, all in JSON. It ends when its standard
input does, whatever it is doing, and takes its workers with it.
"""

import functools
import json
import os
import queue
import signal
import sys
import threading
import time

import work

WORKERS = 2


class ProcessPool:
    def __init__(self):
        from concurrent.futures import ProcessPoolExecutor

        self.versions = {}
        self.pool = ProcessPoolExecutor(WORKERS)
        list(self.pool.map(work.spin, range(100)))

    def submit(self, xs, turns):
        args = (turns,) if turns else ()
        return [f.result() for f in [self.pool.submit(work.spin, x, *args) for x in xs]]

    def call(self, x):
        return self.pool.submit(work.spin, x).result()

    def map(self, xs, turns, chunk):
        f = functools.partial(work.spin, turns=turns) if turns else work.spin
        return list(self.pool.map(f, xs, chunksize=chunk))

    def close(self):
        self.pool.shutdown()


class Joblib:
    def __init__(self):
        import joblib

        self.versions = {"joblib": joblib.__version__}
        self.delayed = joblib.delayed(work.spin)
        self.parallel = joblib.Parallel
        self.map(range(100), 0, 1)

    def submit(self, xs, turns):
        return self.map(xs, turns, 1)

    def map(self, xs, turns, chunk):
        f = self.delayed
        args = (turns,) if turns else ()
        return self.parallel(n_jobs=WORKERS, batch_size=chunk or "auto")(f(x, *args) for x in xs)

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


class Dask:
    def __init__(self, saturation=None):
        import dask
        import distributed
        import numpy

        self.versions = {"distributed": distributed.__version__, "numpy": numpy.__version__}
        if saturation:
            dask.config.set({"distributed.scheduler.worker-saturation": saturation})
        self.cluster = distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0", local_directory=os.path.dirname(os.path.abspath(__file__)),
            silence_logs="CRITICAL",
        )
        self.client = distributed.Client(self.cluster)
        self.first = sorted(self.client.scheduler_info()["workers"])[0]
        self.data = {}
        self.submit(range(10), 0)

    def submit(self, xs, turns):
        kw = {"turns": turns} if turns else {}
        fs = [self.client.submit(work.spin, x, pure=False, **kw) for x in xs]
        return self.client.gather(fs)

    def call(self, x):
        return self.client.submit(work.spin, x, pure=False).result()

    def map(self, xs, turns, chunk):
        kw = {"turns": turns} if turns else {}
        if chunk == 1:
            return self.client.gather(self.client.map(work.spin, xs, pure=False, **kw))
        batches = [xs[i : i + chunk] for i in range(0, len(xs), chunk)]
        done = self.client.gather(self.client.map(work.batch, batches, pure=False, **kw))
        return [y for ys in done for y in ys]

    def send(self, n):
        """The time until the worker says that it has the bytes; that it does is checked after."""
        import numpy

        if n not in self.data:
            self.data[n] = numpy.frombuffer(os.urandom(n), dtype="u1")
        start = time.perf_counter()
        f = self.client.scatter(self.data[n], workers=[self.first], direct=True, hash=False)
        seconds = time.perf_counter() - start
        if self.client.submit(len, f, pure=False).result() != n:
            raise ValueError("not all bytes arrived")
        return seconds

    def close(self):
        self.client.close()
        self.cluster.close()


PEERS = {
    "processpool": ProcessPool,
    "joblib": Joblib,
    "dask": Dask,
    "dask-inf": functools.partial(Dask, float("inf")),
}


def calibrate():
    """The seconds of one turn of spin."""
    turns = 200_000
    best = None
    for _ in range(5):
        start = time.perf_counter()
        work.spin(1, turns)
        d = time.perf_counter() - start
        best = d if best is None else min(best, d)
    return best / turns


def answer(peer, turn, req):
    n, turns = req["n"], round(req.get("item", 0) / turn)
    do, xs = req["do"], list(range(n)) if req["do"] != "send" else []
    if do == "send":
        return {"seconds": [peer.send(n)]}
    if do == "trips":
        times = []
        for x in xs:
            start = time.perf_counter()
            y = peer.call(x)
            times.append(time.perf_counter() - start)
            if y != x * x:
                raise ValueError("a wrong result")
        return {"seconds": times}
    start = time.perf_counter()
    if do == "submit":
        out = peer.submit(xs, turns)
    elif do == "map":
        out = peer.map(xs, turns, req["chunk"])
    elif do == "loop":
        out = [work.spin(x, turns) for x in xs]
    else:
        raise ValueError("no such request")
    seconds = time.perf_counter() - start
    if list(out) != [x * x for x in xs]:
        raise ValueError("a wrong result")
    return {"seconds": [seconds]}


def requests():
    """Requests, read by a thread that ends everything when they do."""
    q = queue.Queue()

    def read():
        for line in sys.stdin.buffer:
            q.put(line)
        q.put(None)
        time.sleep(5)  # for a clean end
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while (line := q.get()) is not None:
        yield json.loads(line)


def main():
    out = os.dup(1)  # stays open until the process ends: its end is how that is known
    os.dup2(2, 1)  # what libraries print goes to stderr

    def say(x):
        line = (json.dumps(x) + "\n").encode()
        while line:
            line = line[os.write(out, line) :]

    try:
        peer = PEERS[sys.argv[1]]()
    except ImportError as e:
        say({"missing": f"not installed: Python {sys.version.split()[0]} says: {e}"})
        return
    turn = calibrate()
    say({"versions": {"python3": sys.version.split()[0], **peer.versions}})
    for req in requests():
        try:
            say(answer(peer, turn, req))
        except Exception as e:
            say({"error": f"{type(e).__name__}: {e}"})
    peer.close()


if __name__ == "__main__":
    main()
