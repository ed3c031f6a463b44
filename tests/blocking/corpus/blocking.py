"""Programs that block the loop they run on: plain functions, named `<kind>_<what>`, called from a coroutine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import glob
import hashlib
import http.client
import importlib
import json
import multiprocessing
import os
import pathlib
import queue
import re
import select
import selectors
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib
from time import sleep as nap

HERE = pathlib.Path(__file__)
SHORT = 0.1
LATER = 0.4
"""When another thread ends a wait: on a busy machine it takes its time until the wait has begun."""
LONG = 0.25


# Sleeping


def sleep_plain() -> None:
    time.sleep(0.001)


def sleep_imported_by_name() -> None:
    nap(0.001)


def sleep_in_a_lambda() -> None:
    (lambda seconds: time.sleep(seconds))(0.001)


def sleep_through_getattr() -> None:
    getattr(time, "sl" + "eep")(0.001)


def sleep_through_map() -> None:
    list(map(time.sleep, [0.001, 0.001]))


def sleep_swallowed() -> None:
    with contextlib.suppress(Exception):
        time.sleep(0.001)


def sleep_in_a_property() -> None:
    class Lazy:
        @property
        def value(self) -> int:
            time.sleep(0.001)
            return 1

    assert Lazy().value


def sleep_in_repr() -> None:
    class Slow:
        def __repr__(self) -> str:
            time.sleep(0.001)
            return "slow"

    assert f"{Slow()!r}"


def sleep_in_del() -> None:
    class Slow:
        def __del__(self) -> None:
            time.sleep(0.001)

    Slow()


def sleep_in_a_sort_key() -> None:
    sorted([2, 1], key=lambda value: time.sleep(0.001) or value)


def sleep_in_a_generator() -> None:
    def numbers():  # type: ignore[no-untyped-def]
        time.sleep(0.001)
        yield 1

    assert list(numbers()) == [1]


def sleep_in_exec() -> None:
    exec("import time; time.sleep(0.001)")


def sleep_by_select() -> None:
    select.select([], [], [], SHORT)


# Locks and what is built on them


def _released_later(lock) -> None:  # type: ignore[no-untyped-def]
    threading.Timer(LATER, lock.release).start()


def lock_held_by_a_thread() -> None:
    lock = threading.Lock()
    lock.acquire()
    _released_later(lock)
    lock.acquire()


def lock_in_a_with_statement() -> None:
    lock = threading.Lock()
    lock.acquire()
    _released_later(lock)
    with lock:
        pass


def lock_reentrant_held_by_another() -> None:
    lock, taken, done = threading.RLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait(SHORT)

    threading.Thread(target=hold).start()
    while not taken.is_set():
        pass
    with lock:
        pass


def lock_event() -> None:
    threading.Event().wait(0.001)


def lock_event_set_later() -> None:
    event = threading.Event()
    threading.Timer(LATER, event.set).start()
    event.wait()


def lock_condition() -> None:
    condition = threading.Condition()
    with condition:
        condition.wait(0.001)


def lock_condition_wait_for() -> None:
    condition = threading.Condition()
    with condition:
        condition.wait_for(lambda: False, 0.001)


def lock_semaphore() -> None:
    semaphore = threading.Semaphore(0)
    semaphore.acquire(timeout=0.001)


def lock_bounded_semaphore() -> None:
    semaphore = threading.BoundedSemaphore(1)
    semaphore.acquire()
    semaphore.acquire(timeout=0.001)


def lock_barrier() -> None:
    barrier = threading.Barrier(2)
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait(0.001)


# Queues


def queue_empty() -> None:
    with contextlib.suppress(queue.Empty):
        queue.Queue().get(timeout=0.001)


def queue_full() -> None:
    full: queue.Queue[int] = queue.Queue(1)
    full.put(1)
    with contextlib.suppress(queue.Full):
        full.put(2, timeout=0.001)


def queue_lifo_and_priority() -> None:
    for kind in (queue.LifoQueue, queue.PriorityQueue):
        with contextlib.suppress(queue.Empty):
            kind().get(timeout=0.001)


def queue_filled_by_a_thread() -> None:
    waiting: queue.Queue[int] = queue.Queue()
    threading.Timer(LATER, waiting.put, (1,)).start()
    waiting.get()


def queue_joined() -> None:
    waiting: queue.Queue[int] = queue.Queue()
    waiting.put(1)
    threading.Timer(LATER, waiting.task_done).start()
    waiting.join()


def queue_simple() -> None:
    with contextlib.suppress(queue.Empty):
        queue.SimpleQueue().get(timeout=SHORT)


# Threads, futures, processes that are waited for


def join_thread() -> None:
    thread = threading.Thread(target=time.sleep, args=(LATER,))
    thread.start()
    thread.join()


def join_thread_with_timeout() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    thread.join(0.001)
    stop.set()


def join_future_result() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, LATER).result()


def join_future_exception() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, LATER).exception()


def join_futures_wait() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        concurrent.futures.wait([pool.submit(time.sleep, LATER)])


def join_as_completed() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        list(concurrent.futures.as_completed([pool.submit(time.sleep, LATER)]))


def join_executor_map() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        list(pool.map(time.sleep, [LATER]))


def join_executor_shutdown() -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(time.sleep, LATER)
    pool.shutdown()


# Sockets


def _silent_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def _answered_later(call) -> None:  # type: ignore[no-untyped-def]
    mine, other = _silent_pair()
    with mine, other:
        timer = threading.Timer(LATER, other.send, (b"x",))
        timer.start()
        call(mine)
        timer.join()


def socket_recv() -> None:
    _answered_later(lambda sock: sock.recv(1))


def socket_recv_into() -> None:
    _answered_later(lambda sock: sock.recv_into(bytearray(1)))


def socket_recvfrom() -> None:
    _answered_later(lambda sock: sock.recvfrom(1))


def socket_recvmsg() -> None:
    _answered_later(lambda sock: sock.recvmsg(1))


def socket_recv_with_timeout() -> None:
    mine, other = _silent_pair()
    with mine, other:
        mine.settimeout(0.001)
        with contextlib.suppress(TimeoutError):
            mine.recv(1)


def socket_makefile() -> None:
    _answered_later(lambda sock: sock.makefile("rb").read(1))


def socket_sendall_to_nobody() -> None:
    mine, other = _silent_pair()
    with mine, other:
        mine.settimeout(SHORT)
        with contextlib.suppress(TimeoutError):
            mine.sendall(b"x" * 10_000_000)


def socket_accept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.001)
        with contextlib.suppress(TimeoutError):
            server.accept()


def socket_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())


def socket_create_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def socket_select() -> None:
    mine, other = _silent_pair()
    with mine, other:
        select.select([mine], [], [], 0.001)


def socket_poll() -> None:
    mine, other = _silent_pair()
    with mine, other:
        poll = select.poll()
        poll.register(mine, select.POLLIN)
        poll.poll(SHORT * 1000)


def socket_selectors() -> None:
    mine, other = _silent_pair()
    with mine, other, selectors.DefaultSelector() as selector:
        selector.register(mine, selectors.EVENT_READ)
        selector.select(SHORT)


def socket_http_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1], timeout=SHORT)
        with contextlib.suppress(OSError):
            connection.request("GET", "/")
            connection.getresponse()
        connection.close()


def socket_urlopen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=SHORT)


def dns_getaddrinfo() -> None:
    socket.getaddrinfo("localhost", 80)


def dns_gethostbyname() -> None:
    socket.gethostbyname("localhost")


def dns_getnameinfo() -> None:
    socket.getnameinfo(("127.0.0.1", 80), 0)


def dns_getfqdn() -> None:
    socket.getfqdn("localhost")


# Processes


def subprocess_run() -> None:
    subprocess.run(["true"], check=True)


def subprocess_call() -> None:
    subprocess.call(["true"])


def subprocess_check_output() -> None:
    subprocess.check_output(["true"])


def subprocess_getoutput() -> None:
    subprocess.getoutput("true")


def subprocess_popen() -> None:
    with subprocess.Popen(["true"]):
        pass


def subprocess_communicate() -> None:
    subprocess.Popen(["true"], stdout=subprocess.PIPE, stderr=subprocess.PIPE).communicate()


def subprocess_system() -> None:
    os.system("true")


def subprocess_popen_of_os() -> None:
    os.popen("true").close()


def subprocess_posix_spawn() -> None:
    true = shutil.which("true") or "/bin/true"
    os.waitpid(os.posix_spawn(true, ["true"], {}), 0)


def subprocess_waitpid() -> None:
    process = subprocess.Popen(["sleep", str(SHORT)])
    os.waitpid(process.pid, 0)
    process.returncode = 0


# Files, counted from the first call


def _scratch(name: str = "file") -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / f"pytest-concurrency-{os.getpid()}-{name}"


def file_open() -> None:
    open(HERE).close()


def file_open_of_os() -> None:
    os.close(os.open(HERE, os.O_RDONLY))


def file_path_read_text() -> None:
    HERE.read_text()


def file_path_read_bytes() -> None:
    HERE.read_bytes()


def file_path_write_and_unlink() -> None:
    path = _scratch("written")
    path.write_text("x")
    path.unlink()


def file_path_exists() -> None:
    HERE.exists()


def file_path_stat() -> None:
    HERE.stat()


def file_path_iterdir() -> None:
    list(HERE.parent.iterdir())


def file_path_glob() -> None:
    list(HERE.parent.glob("*.py"))


def file_path_resolve() -> None:
    HERE.resolve()


def file_stat() -> None:
    os.stat(HERE)


def file_lstat() -> None:
    os.lstat(HERE)


def file_access() -> None:
    os.access(HERE, os.R_OK)


def file_isfile() -> None:
    os.path.isfile(HERE)


def file_getsize() -> None:
    os.path.getsize(HERE)


def file_listdir() -> None:
    os.listdir(HERE.parent)


def file_scandir() -> None:
    with os.scandir(HERE.parent) as entries:
        list(entries)


def file_walk() -> None:
    list(os.walk(HERE.parent))


def file_mkdir_and_rmdir() -> None:
    path = _scratch("folder")
    os.mkdir(path)
    os.rmdir(path)


def file_makedirs_and_rmtree() -> None:
    path = _scratch("tree")
    os.makedirs(path / "below", exist_ok=True)
    shutil.rmtree(path)


def file_rename_and_remove() -> None:
    path, other = _scratch("before"), _scratch("after")
    path.touch()
    os.rename(path, other)
    os.remove(other)


def file_chmod_and_utime() -> None:
    path = _scratch("mode")
    path.touch()
    os.chmod(path, 0o600)
    os.utime(path)
    path.unlink()


def file_symlink_and_readlink() -> None:
    path = _scratch("link")
    os.symlink(HERE, path)
    os.readlink(path)
    os.unlink(path)


def file_copy() -> None:
    path = _scratch("copy")
    shutil.copy(HERE, path)
    path.unlink()


def file_fsync() -> None:
    with _scratch("synced").open("w") as file:
        os.fsync(file.fileno())
    _scratch("synced").unlink()


def file_temporary() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")


def file_temporary_directory() -> None:
    with tempfile.TemporaryDirectory():
        pass


def file_glob() -> None:
    glob.glob(str(HERE.parent / "*"))


def file_json_load() -> None:
    path = _scratch("json")
    path.write_text("{}")
    with open(path) as file:
        json.load(file)
    path.unlink()


def file_disk_usage() -> None:
    shutil.disk_usage(HERE.parent)


# Databases


def database_connect() -> None:
    sqlite3.connect(":memory:").close()


def database_busy() -> None:
    path = _scratch("database")
    first = sqlite3.connect(path, isolation_level=None)
    second = sqlite3.connect(path, timeout=SHORT, isolation_level=None)
    first.execute("begin exclusive")
    with contextlib.suppress(sqlite3.OperationalError):
        second.execute("begin exclusive")
    first.close()
    second.close()
    path.unlink()


# The user at the keyboard, and other ends of pipes


def input_pipe_read() -> None:
    read, write = os.pipe()
    timer = threading.Timer(LATER, os.write, (write, b"x"))
    timer.start()
    os.read(read, 1)
    timer.join()
    os.close(read)
    os.close(write)


def input_pipe_as_a_file() -> None:
    read, write = os.pipe()
    timer = threading.Timer(LATER, os.close, (write,))
    timer.start()
    with open(read) as file:
        file.read()


def input_builtin() -> None:
    read, write = os.pipe()
    os.write(write, b"x\n")
    os.close(write)
    before = sys.stdin
    with open(read) as sys.stdin:
        input()
    sys.stdin = before


def wait_for_a_signal() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.sigtimedwait({signal.SIGUSR1}, 0.001)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})


# Imports


def import_slow() -> None:
    for name in ("slow_module", "corpus_slow_module"):
        sys.modules.pop(name, None)
    folder = _scratch("imports")
    folder.mkdir(exist_ok=True)
    (folder / "corpus_slow_module.py").write_text(
        f"import time\nend = time.time() + {SHORT}\nwhile time.time() < end: pass"
    )
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        import corpus_slow_module  # noqa: F401
    finally:
        sys.path.remove(str(folder))
        shutil.rmtree(folder)


# Computing


def cpu_python() -> None:
    end = time.thread_time() + LONG
    while time.thread_time() < end:
        pass


def cpu_comprehension() -> None:
    end = time.thread_time() + LONG
    while time.thread_time() < end:
        sum([n * n for n in range(10_000)])


def cpu_recursion() -> None:
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    end = time.thread_time() + LONG
    while time.thread_time() < end:
        fibonacci(15)


def cpu_hash() -> None:
    end = time.thread_time() + LONG
    while time.thread_time() < end:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 20_000)


def cpu_compress() -> None:
    data = os.urandom(1_000_000)
    end = time.thread_time() + LONG
    while time.thread_time() < end:
        zlib.compress(data, 9)


def cpu_json() -> None:
    data = {str(n): list(range(50)) for n in range(500)}
    end = time.thread_time() + LONG
    while time.thread_time() < end:
        json.loads(json.dumps(data))


def cpu_regular_expression() -> None:
    end = time.thread_time() + LONG
    while time.thread_time() < end:
        re.match(r"(a+)+b", "a" * 18)


def cpu_sort() -> None:
    data = os.urandom(200_000)
    end = time.thread_time() + LONG
    while time.thread_time() < end:
        sorted(data)


def subprocess_multiprocessing_join() -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(SHORT,))
    process.start()
    process.join()
