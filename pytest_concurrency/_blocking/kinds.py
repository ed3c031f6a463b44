"""One table: which call is which kind of block, and what to use in its place on each kind of loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Instead(NamedTuple):
    """What to write in place of a blocking call; an empty text means that the kind's own advice serves."""

    asyncio: str = ""
    trio: str = ""
    anyio: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One public call that can block."""

    kind: str
    instead: Instead = Instead()


def _thread(what: str) -> Instead:
    return Instead(f"asyncio.to_thread({what})", f"trio.to_thread.run_sync({what})", f"anyio.to_thread.run_sync({what})")


_IN_A_THREAD = _thread("...")
_HTTP = Instead(
    "httpx.AsyncClient or aiohttp.ClientSession",
    "httpx.AsyncClient",
    "httpx.AsyncClient",
)
_FILE = Instead("asyncio.to_thread(...), aiofiles or anyio.open_file", "trio.open_file, trio.Path", "anyio.open_file, anyio.Path")
_RUN = Instead("asyncio.create_subprocess_exec", "trio.run_process", "anyio.run_process")
_OPEN = Instead("asyncio.create_subprocess_exec", "trio.lowlevel.open_process", "anyio.open_process")

BY_KIND: dict[str, Instead] = {
    "sleep": Instead("asyncio.sleep(...)", "trio.sleep(...)", "anyio.sleep(...)"),
    "lock": Instead("asyncio.Lock", "trio.Lock", "anyio.Lock"),
    "queue": Instead("asyncio.Queue", "trio.open_memory_channel", "anyio.create_memory_object_stream"),
    "join": _thread("thread.join"),
    "socket": Instead("asyncio.open_connection or the loop's sock_* methods", "trio.open_tcp_stream or trio.socket", "anyio.connect_tcp"),
    "dns": Instead("loop.getaddrinfo(...)", "trio.socket.getaddrinfo(...)", "anyio.getaddrinfo(...)"),
    "subprocess": _RUN,
    "file": _FILE,
    "database": Instead("an async driver, or asyncio.to_thread(...)", "an async driver, or trio.to_thread.run_sync(...)",
                        "an async driver, or anyio.to_thread.run_sync(...)"),
    "input": _thread("input"),
    "import": Instead(*("an import at the top of the module",) * 3),
    "cpu": Instead(
        "asyncio.to_thread(...), or a process pool for pure Python",
        "trio.to_thread.run_sync(...), or a process pool for pure Python",
        "anyio.to_thread.run_sync(...), anyio.to_process.run_sync(...) for pure Python",
    ),
    "wait": _IN_A_THREAD,
}  # fmt: skip

_EVENT = Instead("asyncio.Event", "trio.Event", "anyio.Event")
_SEMAPHORE = Instead("asyncio.Semaphore", "trio.Semaphore", "anyio.Semaphore")
_CONDITION = Instead("asyncio.Condition", "trio.Condition", "anyio.Condition")
_FUTURE = Instead(
    "await asyncio.wrap_future(future)", "trio.to_thread.run_sync(future.result)", "anyio.to_thread.run_sync(future.result)"
)
_POSTGRES = Instead("asyncpg or psycopg.AsyncConnection", "trio.to_thread.run_sync(...)", "psycopg.AsyncConnection or anyio.to_thread.run_sync(...)")

CALLS: dict[str, Call] = {
    "time.sleep": Call("sleep"),
    "signal.pause": Call("wait", Instead("loop.add_signal_handler", "trio.open_signal_receiver", "anyio.open_signal_receiver")),
    # Names and connections
    "socket.getaddrinfo": Call("dns"),
    "socket.gethostbyname": Call("dns"),
    "socket.gethostbyname_ex": Call("dns"),
    "socket.gethostbyaddr": Call("dns", Instead("loop.getnameinfo(...)", "trio.socket.getnameinfo(...)", "anyio.getnameinfo(...)")),
    "socket.getnameinfo": Call("dns", Instead("loop.getnameinfo(...)", "trio.socket.getnameinfo(...)", "anyio.getnameinfo(...)")),
    "socket.getfqdn": Call("dns", Instead("loop.getnameinfo(...)", "trio.socket.getnameinfo(...)", "anyio.getnameinfo(...)")),
    "socket.create_connection": Call("socket", Instead("asyncio.open_connection(...)", "trio.open_tcp_stream(...)", "anyio.connect_tcp(...)")),
    **{
        f"socket.socket.{name}": Call("socket")
        for name in ("connect", "connect_ex", "accept", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg",
                     "recvmsg_into", "send", "sendall", "sendto", "sendmsg", "sendfile")
    },
    "ssl.SSLSocket.do_handshake": Call("socket"),
    "ssl.SSLSocket.read": Call("socket"),
    "ssl.SSLSocket.recv": Call("socket"),
    "ssl.SSLSocket.send": Call("socket"),
    "urllib.request.urlopen": Call("socket", _HTTP),
    "http.client.HTTPConnection.request": Call("socket", _HTTP),
    "http.client.HTTPConnection.connect": Call("socket", _HTTP),
    "http.client.HTTPConnection.getresponse": Call("socket", _HTTP),
    "http.client.HTTPResponse.read": Call("socket", _HTTP),
    "requests.api.request": Call("socket", _HTTP),
    "requests.get": Call("socket", _HTTP),
    "requests.sessions.Session.request": Call("socket", _HTTP),
    "urllib3.request": Call("socket", _HTTP),
    "urllib3.connectionpool.HTTPConnectionPool.urlopen": Call("socket", _HTTP),
    "httpx.Client.request": Call("socket", _HTTP),
    "smtplib.SMTP": Call("socket", Instead("aiosmtplib", "trio.to_thread.run_sync(...)", "anyio.to_thread.run_sync(...)")),
    "ftplib.FTP.connect": Call("socket", _IN_A_THREAD),
    "imaplib.IMAP4": Call("socket", _IN_A_THREAD),
    "poplib.POP3": Call("socket", _IN_A_THREAD),
    "select.select": Call("socket", Instead("loop.add_reader(...)", "trio.lowlevel.wait_readable(...)", "anyio.wait_readable(...)")),
    "selectors.select": Call("socket", Instead("loop.add_reader(...)", "trio.lowlevel.wait_readable(...)", "anyio.wait_readable(...)")),
    # Processes
    "subprocess.run": Call("subprocess"),
    "subprocess.call": Call("subprocess"),
    "subprocess.check_call": Call("subprocess"),
    "subprocess.check_output": Call("subprocess"),
    "subprocess.getoutput": Call("subprocess"),
    "subprocess.getstatusoutput": Call("subprocess"),
    "subprocess.Popen": Call("subprocess", _OPEN),
    "subprocess.Popen.wait": Call("subprocess", Instead("await process.wait() of asyncio.create_subprocess_exec", "await process.wait() of trio.lowlevel.open_process",
                                                        "await process.wait() of anyio.open_process")),
    "subprocess.Popen.communicate": Call("subprocess", Instead("await process.communicate() of asyncio.create_subprocess_exec", "trio.run_process",
                                                               "anyio.run_process")),
    "os.system": Call("subprocess", Instead("asyncio.create_subprocess_shell", "trio.run_process(..., shell=True)", "anyio.run_process")),
    "os.popen": Call("subprocess", Instead("asyncio.create_subprocess_shell", "trio.run_process(..., shell=True)", "anyio.run_process")),
    "os.spawn": Call("subprocess"),
    "os.posix_spawn": Call("subprocess", _OPEN),
    "os.wait": Call("subprocess"),
    "os.waitpid": Call("subprocess"),
    "pty.spawn": Call("subprocess", _OPEN),
    "webbrowser.open": Call("subprocess", _thread("webbrowser.open, url")),
    "multiprocessing.process.BaseProcess.join": Call("join", _thread("process.join")),
    # Locks, queues, threads
    "threading.Lock.acquire": Call("lock"),
    "threading.RLock.acquire": Call("lock"),
    "threading.Condition.wait": Call("lock", _CONDITION),
    "threading.Condition.wait_for": Call("lock", _CONDITION),
    "threading.Event.wait": Call("lock", _EVENT),
    "threading.Semaphore.acquire": Call("lock", _SEMAPHORE),
    "threading.Barrier.wait": Call("lock", Instead("asyncio.Barrier", "trio.Event", "anyio.Event")),
    "threading.Thread.join": Call("join"),
    "queue.Queue.get": Call("queue"),
    "queue.Queue.put": Call("queue"),
    "queue.Queue.join": Call("queue"),
    "queue.SimpleQueue.get": Call("queue"),
    "multiprocessing.queues.Queue.get": Call("queue"),
    "multiprocessing.queues.Queue.put": Call("queue"),
    "concurrent.futures.Future.result": Call("join", _FUTURE),
    "concurrent.futures.Future.exception": Call("join", _FUTURE),
    "concurrent.futures.wait": Call("join", _FUTURE),
    "concurrent.futures.as_completed": Call("join", _FUTURE),
    "concurrent.futures.Executor.shutdown": Call("join", _thread("executor.shutdown")),
    "concurrent.futures.Executor.map": Call("join", _FUTURE),
    "asyncio.run_coroutine_threadsafe(...).result": Call("join", _FUTURE),
    "fcntl.flock": Call("lock", _IN_A_THREAD),
    "fcntl.lockf": Call("lock", _IN_A_THREAD),
    # Databases
    "sqlite3.connect": Call("database", Instead("aiosqlite.connect(...)", "trio.to_thread.run_sync(...)", "anyio.to_thread.run_sync(...)")),
    "psycopg2.connect": Call("database", _POSTGRES),
    "psycopg.Connection.connect": Call("database", _POSTGRES),
    "pymysql.connections.Connection.connect": Call("database", Instead("aiomysql or asyncmy", "trio.to_thread.run_sync(...)", "anyio.to_thread.run_sync(...)")),
    "redis.client.Redis.execute_command": Call("database", Instead("redis.asyncio.Redis", "trio.to_thread.run_sync(...)", "anyio.to_thread.run_sync(...)")),
    "pymongo": Call("database", Instead("pymongo.AsyncMongoClient", "trio.to_thread.run_sync(...)", "anyio.to_thread.run_sync(...)")),
    # The user at the keyboard
    "builtins.input": Call("input"),
    "getpass.getpass": Call("input", _thread("getpass.getpass")),
    # Imports
    "import": Call("import"),
    "importlib.import_module": Call("import"),
    # Files
    **{
        name: Call("file")
        for name in (
            "open", "os.open", "os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.mkdir", "os.makedirs", "os.rmdir", "os.remove",
            "os.rename", "os.replace", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.chflags",
            "os.getxattr", "os.listxattr", "os.setxattr", "os.removexattr", "os.lockf", "os.stat", "os.fsync",
            "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copymode", "shutil.copystat", "shutil.copytree", "shutil.move",
            "shutil.rmtree", "shutil.chown", "shutil.make_archive", "shutil.unpack_archive", "shutil.copyfileobj", "shutil.disk_usage",
            "glob.glob", "glob.iglob", "tempfile.mkstemp", "tempfile.mkdtemp", "tempfile.NamedTemporaryFile",
            "tempfile.TemporaryFile", "tempfile.TemporaryDirectory", "zipfile.ZipFile", "tarfile.open",
            "pathlib.Path.open", "pathlib.Path.read_text", "pathlib.Path.read_bytes", "pathlib.Path.write_text",
            "pathlib.Path.write_bytes", "pathlib.Path.iterdir", "pathlib.Path.glob", "pathlib.Path.rglob", "pathlib.Path.mkdir",
            "pathlib.Path.touch", "pathlib.Path.unlink", "pathlib.Path.rename", "pathlib.Path.rmdir",
        )
    },
}  # fmt: skip

_BY_BACKEND = {"asyncio": "asyncio", "uvloop": "asyncio", "tornado": "asyncio", "trio": "trio", "anyio": "anyio"}


def instead(call: str, kind: str, backend: str) -> str:
    """Return what to use on *backend* in place of *call*, empty where nothing is known."""
    column = _BY_BACKEND.get(backend)
    if column is None:
        return ""
    known = CALLS.get(call)
    own: str = getattr(known.instead, column) if known is not None else ""
    general: str = getattr(BY_KIND[kind], column) if kind in BY_KIND else ""
    return own or general
