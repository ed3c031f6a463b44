"""One table: which call is which kind of block, and what to use in its place on each kind of loop."""

from __future__ import annotations

from typing import NamedTuple


class Instead(NamedTuple):
    """What to write in place of a blocking call; an empty text means that the kind's own advice serves."""

    asyncio: str = ""
    trio: str = ""
    anyio: str = ""
    gevent: str = ""


def _thread(what: str, rather: str = "") -> Instead:
    lead = f"{rather}, or " if rather else ""
    return Instead(
        f"{lead}asyncio.to_thread({what})",
        f"{lead}trio.to_thread.run_sync({what})",
        f"{lead}anyio.to_thread.run_sync({what})",
        f"gevent.get_hub().threadpool.apply({what})",
    )


BY_KIND: dict[str, Instead] = {
    "sleep": Instead("asyncio.sleep(...)", "trio.sleep(...)", "anyio.sleep(...)", "gevent.sleep(...)"),
    "lock": Instead("asyncio.Lock", "trio.Lock", "anyio.Lock", "gevent.lock.RLock, gevent.lock.Semaphore"),
    "queue": Instead(
        "asyncio.Queue", "trio.open_memory_channel", "anyio.create_memory_object_stream", "gevent.queue.Queue"
    ),
    "join": _thread("thread.join"),
    "socket": Instead(
        "asyncio.open_connection, or the loop's sock_* methods",
        "trio.open_tcp_stream, trio.socket",
        "anyio.connect_tcp",
        "gevent.socket, or gevent.monkey.patch_all() before anything else",
    ),
    "dns": Instead(
        "loop.getaddrinfo(...)",
        "trio.socket.getaddrinfo(...)",
        "anyio.getaddrinfo(...)",
        "gevent.socket.getaddrinfo(...)",
    ),
    "subprocess": Instead(
        "asyncio.create_subprocess_exec", "trio.run_process", "anyio.run_process", "gevent.subprocess"
    ),
    "file": Instead(
        "asyncio.to_thread(...), aiofiles or anyio.open_file",
        "trio.open_file, trio.Path",
        "anyio.open_file, anyio.Path",
        "gevent.get_hub().threadpool.apply(...)",
    ),
    "database": _thread("...", "an async driver"),
    "input": _thread("input"),
    "import": Instead(*["an import at the top of the module"] * 4),
    "cpu": Instead(
        "asyncio.to_thread(...), or a process pool for pure Python",
        "trio.to_thread.run_sync(...), or a process pool for pure Python",
        "anyio.to_thread.run_sync(...), or anyio.to_process for pure Python",
        "gevent.get_hub().threadpool.apply(...), or a process pool for pure Python",
    ),
    "wait": _thread("..."),
}

_HTTP = Instead(
    "httpx.AsyncClient or aiohttp.ClientSession",
    "httpx.AsyncClient",
    "httpx.AsyncClient",
    "gevent.monkey.patch_all() before anything else",
)
_SHELL = Instead(
    "asyncio.create_subprocess_shell", "trio.run_process(..., shell=True)", "anyio.run_process", "gevent.subprocess"
)
_OPEN = Instead(
    "asyncio.create_subprocess_exec", "trio.lowlevel.open_process", "anyio.open_process", "gevent.subprocess.Popen"
)
_FUTURE = Instead(
    "await asyncio.wrap_future(future)",
    "trio.to_thread.run_sync(future.result)",
    "anyio.to_thread.run_sync(future.result)",
    "gevent.get_hub().threadpool.apply(future.result)",
)
_NAMEINFO = Instead(
    "loop.getnameinfo(...)", "trio.socket.getnameinfo(...)", "anyio.getnameinfo(...)", "gevent.socket.getnameinfo(...)"
)
_READABLE = Instead(
    "loop.add_reader(...)", "trio.lowlevel.wait_readable(...)", "anyio.wait_readable(...)", "gevent.select.select"
)
_CONDITION = Instead("asyncio.Condition", "trio.Condition", "anyio.Condition")
_CERTIFICATES = _thread("...", "a context that is made before the loop runs")

INSTEAD: dict[str, Instead] = {
    "signal.pause": Instead(
        "loop.add_signal_handler", "trio.open_signal_receiver", "anyio.open_signal_receiver", "gevent.signal_handler"
    ),
    "socket.gethostbyaddr": _NAMEINFO,
    "socket.getnameinfo": _NAMEINFO,
    "socket.getfqdn": _NAMEINFO,
    "socket.create_connection": Instead(
        "asyncio.open_connection", "trio.open_tcp_stream", "anyio.connect_tcp", "gevent.socket.create_connection"
    ),
    "urllib.request.urlopen": _HTTP,
    "http.client.HTTPConnection.request": _HTTP,
    "http.client.HTTPConnection.connect": _HTTP,
    "http.client.HTTPConnection.getresponse": _HTTP,
    "http.client.HTTPResponse.read": _HTTP,
    "requests.api.request": _HTTP,
    "requests.get": _HTTP,
    "requests.sessions.Session.request": _HTTP,
    "urllib3.connectionpool.HTTPConnectionPool.urlopen": _HTTP,
    "httpx._client.Client.request": _HTTP,
    "httpx._client.Client.send": _HTTP,
    "httpx._api.request": _HTTP,
    "smtplib.SMTP": _thread("...", "aiosmtplib"),
    "select.select": _READABLE,
    "selectors.select": _READABLE,
    "subprocess.Popen": _OPEN,
    "subprocess.Popen.wait": _OPEN,
    "os.system": _SHELL,
    "os.popen": _SHELL,
    "os.posix_spawn": _OPEN,
    "webbrowser.open": _thread("webbrowser.open, url"),
    "multiprocessing.process.BaseProcess.join": _thread("process.join"),
    "threading.Condition.wait": _CONDITION,
    "threading.Condition.wait_for": _CONDITION,
    "threading.Event.wait": Instead("asyncio.Event", "trio.Event", "anyio.Event", "gevent.event.Event"),
    "threading.Semaphore.acquire": Instead(
        "asyncio.Semaphore", "trio.Semaphore", "anyio.Semaphore", "gevent.lock.Semaphore"
    ),
    "threading.Barrier.wait": Instead("asyncio.Barrier", "trio.Event", "anyio.Event"),
    "concurrent.futures.Future.result": _FUTURE,
    "concurrent.futures.Future.exception": _FUTURE,
    "concurrent.futures.wait": _FUTURE,
    "concurrent.futures.as_completed": _FUTURE,
    "concurrent.futures.Executor.map": _FUTURE,
    "concurrent.futures.Executor.shutdown": _thread("executor.shutdown"),
    "fcntl.flock": _thread("..."),
    "fcntl.lockf": _thread("..."),
    "sqlite3.connect": _thread("...", "aiosqlite"),
    "psycopg2.connect": _thread("...", "psycopg.AsyncConnection"),
    "psycopg.Connection.connect": _thread("...", "psycopg.AsyncConnection"),
    "pymysql.connections.Connection.connect": _thread("...", "asyncmy or aiomysql"),
    "redis.client.Redis.execute_command": _thread("...", "redis.asyncio.Redis"),
    "getpass.getpass": _thread("getpass.getpass"),
    "ssl.create_default_context": _CERTIFICATES,
    "ssl.SSLContext.load_verify_locations": _CERTIFICATES,
    "ssl.SSLContext.load_cert_chain": _CERTIFICATES,
    "ssl.SSLContext.load_default_certs": _CERTIFICATES,
    "ssl.SSLContext.set_default_verify_paths": _CERTIFICATES,
}

_ROWS: tuple[tuple[str, str, str], ...] = (
    # kind, prefix, names
    ("sleep", "time.", "sleep"),
    ("wait", "signal.", "pause"),
    ("dns", "socket.", "getaddrinfo gethostbyname gethostbyname_ex gethostbyaddr getnameinfo getfqdn"),
    ("socket", "socket.socket.", "connect connect_ex accept recv recv_into recvfrom recvfrom_into recvmsg"),
    ("socket", "socket.socket.", "recvmsg_into send sendall sendto sendmsg sendfile"),
    ("socket", "socket.", "create_connection"),
    ("socket", "ssl.SSLSocket.", "do_handshake read recv recv_into send sendall write unwrap"),
    ("socket", "http.client.", "HTTPConnection.request HTTPConnection.connect HTTPConnection.getresponse"),
    ("socket", "http.client.", "HTTPResponse.read"),
    ("socket", "urllib.request.", "urlopen"),
    ("socket", "requests.", "get api.request sessions.Session.request"),
    ("socket", "urllib3.", "connectionpool.HTTPConnectionPool.urlopen"),
    ("socket", "httpx.", "_api.request _client.Client.request _client.Client.send"),
    ("socket", "", "smtplib.SMTP ftplib.FTP.connect imaplib.IMAP4 poplib.POP3 select.select selectors.select"),
    ("subprocess", "subprocess.", "run call check_call check_output getoutput getstatusoutput"),
    ("subprocess", "subprocess.", "Popen Popen.wait Popen.communicate"),
    ("subprocess", "os.", "system popen posix_spawn wait waitpid"),
    ("subprocess", "os.", "spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe"),
    ("subprocess", "", "pty.spawn webbrowser.open"),
    ("lock", "threading.", "Lock.acquire RLock.acquire Condition.wait Condition.wait_for Event.wait"),
    ("lock", "threading.", "Semaphore.acquire Barrier.wait"),
    ("lock", "fcntl.", "flock lockf"),
    ("join", "", "threading.Thread.join multiprocessing.process.BaseProcess.join"),
    ("join", "concurrent.futures.", "Future.result Future.exception wait as_completed Executor.shutdown Executor.map"),
    ("queue", "queue.", "Queue.get Queue.put Queue.join SimpleQueue.get"),
    ("queue", "multiprocessing.queues.", "Queue.get Queue.put"),
    ("database", "", "sqlite3.connect psycopg2.connect psycopg.Connection.connect"),
    ("database", "", "pymysql.connections.Connection.connect redis.client.Redis.execute_command"),
    ("input", "", "builtins.input getpass.getpass"),
    ("import", "", "import importlib.import_module importlib.reload"),
    ("file", "ssl.", "create_default_context SSLContext.load_verify_locations SSLContext.load_cert_chain"),
    ("file", "ssl.", "SSLContext.load_default_certs SSLContext.set_default_verify_paths"),
    ("file", "json.", "load dump"),
    ("file", "", "open glob.glob glob.iglob zipfile.ZipFile tarfile.open"),
    ("file", "os.", "open listdir scandir walk fwalk mkdir makedirs rmdir remove unlink rename replace link symlink"),
    (
        "file",
        "os.",
        "truncate chmod chown utime chflags getxattr listxattr setxattr removexattr lockf stat lstat fsync",
    ),
    ("file", "shutil.", "copy copy2 copyfile copymode copystat copytree move rmtree chown make_archive"),
    ("file", "shutil.", "unpack_archive copyfileobj disk_usage"),
    ("file", "pathlib.Path.", "open read_text read_bytes write_text write_bytes iterdir glob rglob mkdir touch unlink"),
    ("file", "pathlib.Path.", "rename replace rmdir resolve"),
    ("file", "tempfile.", "mkstemp mkdtemp NamedTemporaryFile TemporaryFile TemporaryDirectory"),
)

CALLS: dict[str, str] = {prefix + name: kind for kind, prefix, names in _ROWS for name in names.split()}
"""Public name of a call -> its kind."""

_COLUMN = {"asyncio": 0, "uvloop": 0, "tornado": 0, "trio": 1, "anyio": 2, "gevent": 3}


def instead(call: str, kind: str, backend: str) -> str:
    """Return what to use on *backend* in place of *call*, empty where nothing is known."""
    column = _COLUMN.get(backend)
    if column is None:
        return ""
    return INSTEAD.get(call, Instead())[column] or BY_KIND.get(kind, Instead())[column]
