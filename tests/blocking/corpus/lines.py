# ruff: noqa: E501
"""Programs of one line: `kind name | what is done first, off the loop | what is done on the loop`.

The line on the loop is line 2 of a file that is named after the program, and that is the place which is to be named.
On the left and on the right `folder` is an empty folder, `path(name)` a file with text in it, and `keep` a list.
"""

from __future__ import annotations

import importlib
import pathlib  # noqa: TC003
from types import CodeType  # noqa: TC003
from typing import Any, NamedTuple

BLOCKING = r"""
file read_text_that_is_open | f = open(path("f")) | f.read()
file read_bytes_that_are_open | f = open(path("f"), "rb") | f.read()
file read_unbuffered | f = open(path("f"), "rb", buffering=0) | f.read()
file readline_of_what_is_open | f = open(path("f")) | f.readline()
file readlines_of_what_is_open | f = open(path("f")) | f.readlines()
file readinto | f = open(path("f"), "rb") | f.readinto(bytearray(9))
file write_to_what_is_open | f = open(folder / "w", "w") | f.write("x")
file write_bytes_to_what_is_open | f = open(folder / "w", "wb") | f.write(b"x" * 100_000)
file writelines | f = open(folder / "w", "w") | f.writelines(["x"])
file flush | f = open(folder / "w", "w"); f.write("x") | f.flush()
file close_with_text_to_write | f = open(folder / "w", "w"); f.write("x") | f.close()
file truncate_what_is_open | f = open(folder / "w", "w") | f.truncate(5)
file json_load_of_what_is_open | (folder / "j").write_text("[1]"); f = open(folder / "j") | json.load(f)
file json_dump_to_what_is_open | f = open(folder / "j", "w") | json.dump([1], f)
file mmap | f = open(path("f"), "r+b") | mmap.mmap(f.fileno(), 0).close()
file mmap_flush | f = open(path("f"), "r+b"); m = mmap.mmap(f.fileno(), 0) | m.flush()
file gzip | _ = gzip.open(folder / "g", "wb").write(b"x") | gzip.open(folder / "g").read()
file zip_that_is_open | zipfile.ZipFile(folder / "z", "w").writestr("a", "b"); z = zipfile.ZipFile(folder / "z") | z.read("a")
file zip | zipfile.ZipFile(folder / "z", "w").writestr("a", "b") | zipfile.ZipFile(folder / "z").read("a")
file tar | tarfile.open(folder / "t", "w").close() | tarfile.open(folder / "t").getmembers()
file codecs_open | p = path("f") | codecs.open(p, encoding="utf-8").read()
file io_open | p = path("f") | io.open(p).close()
file raw_file | p = str(path("f")) | io.FileIO(p).read()
file ini | (folder / "i").write_text("[a]\nb=1"); c = configparser.ConfigParser() | c.read(folder / "i")
file shelf | pass | shelve.open(str(folder / "s")).close()
file certificates | c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) | c.load_default_certs()
file os_read | n = os.open(path("f"), os.O_RDONLY) | os.read(n, 9)
file os_readv | n = os.open(path("f"), os.O_RDONLY) | os.readv(n, [bytearray(9)])
file os_pread | n = os.open(path("f"), os.O_RDONLY) | os.pread(n, 9, 0)
file os_preadv | n = os.open(path("f"), os.O_RDONLY) | os.preadv(n, [bytearray(9)], 0)
file os_write | n = os.open(path("f"), os.O_WRONLY) | os.write(n, b"x")
file os_writev | n = os.open(path("f"), os.O_WRONLY) | os.writev(n, [b"x"])
file os_pwrite | n = os.open(path("f"), os.O_WRONLY) | os.pwrite(n, b"x", 0)
file os_fstat | n = os.open(path("f"), os.O_RDONLY) | os.fstat(n)
file os_fdatasync | n = os.open(path("f"), os.O_WRONLY) | os.fdatasync(n)
file os_ftruncate | n = os.open(path("f"), os.O_WRONLY) | os.ftruncate(n, 1)
file os_fchmod | n = os.open(path("f"), os.O_WRONLY) | os.fchmod(n, 0o600)
file os_fchown | n = os.open(path("f"), os.O_WRONLY) | os.fchown(n, -1, -1)
file os_posix_fallocate | n = os.open(path("f"), os.O_WRONLY) | os.posix_fallocate(n, 0, 9)
file os_lockf | n = os.open(path("f"), os.O_RDWR) | os.lockf(n, os.F_LOCK, 1)
file os_sendfile | n, m = os.open(path("f"), os.O_RDONLY), os.open(path("g"), os.O_RDWR) | os.sendfile(m, n, 0, 5)
file os_copy_file_range | n, m = os.open(path("f"), os.O_RDONLY), os.open(path("g"), os.O_RDWR) | os.copy_file_range(n, m, 5)
file os_fdopen | n = os.open(path("f"), os.O_RDONLY) | os.fdopen(n).read()
file os_truncate | p = path("f") | os.truncate(p, 1)
file os_statvfs | pass | os.statvfs(folder)
file os_chmod | p = path("f") | os.chmod(p, 0o600)
file os_chown | p = path("f") | os.chown(p, -1, -1)
file os_utime | p = path("f") | os.utime(p)
file os_replace | p = path("f") | os.replace(p, folder / "g")
file os_renames | p = path("f") | os.renames(p, folder / "a" / "b")
file os_link | p = path("f") | os.link(p, folder / "g")
file os_symlink | p = path("f") | os.symlink(p, folder / "g")
file os_unlink | p = path("f") | os.unlink(p)
file os_makedirs | pass | os.makedirs(folder / "a" / "b")
file os_removedirs | (folder / "a").mkdir(); path("f") | os.removedirs(folder / "a")
file os_fwalk | pass | list(os.fwalk(folder))
file os_mkfifo | pass | os.mkfifo(folder / "p")
file os_listxattr | p = path("f") | os.listxattr(p)
file os_path_exists | pass | os.path.exists(folder / "no")
file os_path_isdir | pass | os.path.isdir(folder)
file os_path_islink | pass | os.path.islink(folder)
file os_path_realpath | pass | os.path.realpath(folder)
file os_path_samefile | pass | os.path.samefile(folder, folder)
file path_open | p = path("f") | p.open().close()
file path_write_bytes | pass | (folder / "n").write_bytes(b"x")
file path_is_file | p = path("f") | p.is_file()
file path_lstat | p = path("f") | p.lstat()
file path_chmod | p = path("f") | p.chmod(0o600)
file path_touch | pass | (folder / "n").touch()
file path_rename | p = path("f") | p.rename(folder / "g")
file path_mkdir | pass | (folder / "a" / "b").mkdir(parents=True)
file path_rmdir | (folder / "a").mkdir() | (folder / "a").rmdir()
file path_rglob | path("f") | list(folder.rglob("*"))
file path_symlink_to | p = path("f") | (folder / "s").symlink_to(p)
file path_hardlink_to | p = path("f") | (folder / "s").hardlink_to(p)
file shutil_copy2 | p = path("f") | shutil.copy2(p, folder / "g")
file shutil_copyfileobj | p = path("f") | shutil.copyfileobj(open(p, "rb"), open(folder / "g", "wb"))
file shutil_copytree | (folder / "a").mkdir() | shutil.copytree(folder / "a", folder / "b")
file shutil_copystat | p, q = path("f"), path("g") | shutil.copystat(p, q)
file shutil_move | p = path("f") | shutil.move(p, folder / "g")
file shutil_which | pass | shutil.which("sh")
file shutil_make_archive | (folder / "a").mkdir() | shutil.make_archive(str(folder / "z"), "zip", folder / "a")
file temporary_file | pass | tempfile.TemporaryFile().close()
file mkstemp | pass | os.close(tempfile.mkstemp(dir=folder)[0])
file spooled | f = tempfile.SpooledTemporaryFile() | f.rollover()
file in_del | C = type("C", (), {"__del__": lambda self: path("f").read_text()}) | C()
file in_repr | p = path("f"); C = type("C", (), {"__repr__": lambda self: p.read_text()}) | repr(C())
database execute | c = sqlite3.connect(folder / "d") | c.execute("create table t (a)")
database cursor | c = sqlite3.connect(folder / "d").cursor() | c.execute("create table t (a)")
database executemany | c = sqlite3.connect(folder / "d"); c.execute("create table t (a)") | c.executemany("insert into t values (?)", [(1,)])
database executescript | c = sqlite3.connect(folder / "d") | c.executescript("create table t (a)")
database commit | c = sqlite3.connect(folder / "d"); c.execute("create table t (a)"); c.execute("insert into t values (1)") | c.commit()
database fetchall | c = sqlite3.connect(folder / "d").execute("select 1") | c.fetchall()
database backup | c, d = sqlite3.connect(folder / "d"), sqlite3.connect(folder / "e") | c.backup(d)
file dbm | pass | dbm.open(str(folder / "d"), "c").close()
import by_importlib | sys.modules.pop("slow_a", None); (folder / "slow_a.py").write_text("for _ in range(2_000_000): pass"); sys.path.insert(0, str(folder)) | importlib.import_module("slow_a")
import reload | sys.modules.pop("slow_b", None); (folder / "slow_b.py").write_text("for _ in range(2_000_000): pass"); sys.path.insert(0, str(folder)); m = importlib.import_module("slow_b") | importlib.reload(m)
dns gethostbyaddr | pass | socket.gethostbyaddr("127.0.0.1")
dns gethostbyname_ex | pass | socket.gethostbyname_ex("localhost")
socket connect_ex | s = socket.create_server(("127.0.0.1", 0)); keep.append(s) | socket.socket().connect_ex(s.getsockname())
socket connect_unix | s = socket.socket(socket.AF_UNIX); s.bind(str(folder / "u")); s.listen(); keep.append(s) | socket.socket(socket.AF_UNIX).connect(str(folder / "u"))
socket epoll | a, b = socket.socketpair(); p = select.epoll(); p.register(a, 1); keep.append((a, b)) | p.poll(0.1)
socket recvmsg_into | a, b = socket.socketpair() | (threading.Timer(0.03, b.send, (b"x",)).start(), a.recvmsg_into([bytearray(9)]))
queue of_processes | q = multiprocessing.get_context("fork").Queue() | (threading.Timer(0.05, q.put, (1,)).start(), q.get())
lock of_processes | q = multiprocessing.get_context("fork").Lock(); q.acquire() | q.acquire(timeout=0.05)
lock file_lock | f, g = open(folder / "l", "w"), open(folder / "l", "w"); fcntl.flock(f, fcntl.LOCK_EX) | (threading.Timer(0.03, f.close).start(), fcntl.flock(g, fcntl.LOCK_EX))
lock pool_of_threads | p = multiprocessing.pool.ThreadPool(1); keep.append(p) | p.apply(nap, (0.03,))
join callback_of_a_future | f = concurrent.futures.Future() | (threading.Timer(0.03, f.set_result, (1,)).start(), f.result())
subprocess spawn | pass | os.spawnlp(os.P_WAIT, "true", "true")
subprocess wait4 | p = subprocess.Popen(["sleep", "0.1"]) | os.wait4(p.pid, 0)
wait sigtimedwait | pass | signal.sigtimedwait([signal.SIGUSR2], 0.02)
sleep partial | f = functools.partial(time.sleep, 0.002) | f()
sleep in_eq | C = type("C", (), {"__eq__": lambda self, other: time.sleep(0.002)}) | C() == 1
sleep in_hash | C = type("C", (), {"__hash__": lambda self: time.sleep(0.002) or 1}) | {C()}
sleep in_bool | C = type("C", (), {"__bool__": lambda self: time.sleep(0.002) or True}) | not C()
sleep in_format | C = type("C", (), {"__format__": lambda self, spec: time.sleep(0.002) or ""}) | f"{C()}"
sleep in_getattr | C = type("C", (), {"__getattr__": lambda self, name: time.sleep(0.002)}) | C().x
sleep in_missing | C = type("C", (dict,), {"__missing__": lambda self, key: time.sleep(0.002)}) | C()[1]
sleep in_set | D = type("D", (), {"__set__": lambda self, o, v: time.sleep(0.002)}); C = type("C", (), {"x": D()}) | setattr(C(), "x", 1)
sleep in_call_of_a_class | M = type("M", (type,), {"__call__": lambda cls: time.sleep(0.002)}); C = M("C", (), {}) | C()
sleep in_init_subclass | C = type("C", (), {"__init_subclass__": classmethod(lambda cls: time.sleep(0.002))}) | type("D", (C,), {})
sleep in_a_default_factory | d = collections.defaultdict(lambda: time.sleep(0.002)) | d[1]
sleep in_a_cache | f = functools.lru_cache(lambda n: time.sleep(0.002)) | f(1)
sleep in_reduce | pass | functools.reduce(lambda a, b: time.sleep(0.002), [1, 2])
sleep in_a_substitution | pass | re.sub("a", lambda found: time.sleep(0.002) or "", "a")
sleep in_an_exit_stack | s = contextlib.ExitStack(); s.callback(time.sleep, 0.002) | s.close()
sleep in_a_context_manager | C = type("C", (), {"__enter__": lambda self: time.sleep(0.002), "__exit__": lambda self, *a: None}) | exec("with C(): pass", {"C": C})
sleep in_a_weakref_callback | C = type("C", (), {}); x = [C()]; keep.append(weakref.ref(x[0], lambda ref: time.sleep(0.002))) | x.clear()
sleep in_a_finalizer | C = type("C", (), {}); x = [C()]; weakref.finalize(x[0], time.sleep, 0.002) | x.clear()
sleep in_another_context | c = contextvars.copy_context() | c.run(time.sleep, 0.002)
sleep in_eval | pass | eval(compile("time.sleep(0.002)", "<corpus sleep_in_eval>", "eval"))
sleep in_json | pass | json.dumps(object(), default=lambda o: time.sleep(0.002))
sleep in_copy | C = type("C", (), {"__copy__": lambda self: time.sleep(0.002)}) | copy.copy(C())
sleep in_a_filter_of_logging | l = logging.getLogger("corpus.filter"); l.addFilter(lambda r: time.sleep(0.002)) | l.error("x")
sleep in_a_handler_of_logging | h = logging.Handler(); h.emit = lambda r: time.sleep(0.002); l = logging.getLogger("corpus.handler"); l.addHandler(h) | l.error("x")
sleep in_a_mock | m = unittest.mock.Mock(side_effect=lambda: time.sleep(0.002)) | m()
sleep in_an_argument_parser | p = argparse.ArgumentParser(); p.add_argument("x", type=lambda text: time.sleep(0.002)) | p.parse_args(["a"])
sleep in_a_future_callback | f = concurrent.futures.Future(); f.add_done_callback(lambda f: time.sleep(0.002)) | f.set_result(1)
sleep in_a_signal_handler | signal.signal(signal.SIGUSR1, lambda *a: time.sleep(0.002)) | (os.kill(os.getpid(), signal.SIGUSR1), [None for _ in range(1000)])
cpu power | pass | pow(3, 4_000_000) % 7
cpu sum | pass | sum(i * i for i in range(4_000_000))
cpu compile | text = "x = 1 + 2 * 3\n" * 150_000 | compile(text, "x", "exec")
cpu scrypt | pass | hashlib.scrypt(b"x", salt=b"y", n=2**15, r=8, p=4, maxmem=2**28)
cpu deepcopy | d = [{"a": [i]} for i in range(60_000)] | copy.deepcopy(d)
cpu square_root | pass | decimal.Context(prec=80_000).sqrt(decimal.Decimal(2))
cpu permutations | pass | collections.deque(itertools.permutations(range(11)), 0)
"""

INNOCENT = r"""
paths | pass | os.path.abspath(folder), os.path.normpath("a/../b"), os.path.expanduser("~"), pathlib.Path("a").absolute()
text_in_memory | f = io.StringIO("x") | f.read(), f.write("y"), f.getvalue()
bytes_in_memory | f = io.BytesIO(b"x") | f.read(), f.write(b"y"), f.close()
buffered_memory | f = io.TextIOWrapper(io.BytesIO(b"x")) | f.read(), f.close()
spooled_in_memory | f = tempfile.SpooledTemporaryFile() | f.write(b"x"), f.read(), f.close()
json_in_memory | pass | json.loads(json.dumps({"a": [1, 2]}))
pickle_in_memory | pass | pickle.loads(pickle.dumps({"a": [1, 2]}))
zip_in_memory | f = io.BytesIO() | zipfile.ZipFile(f, "w").writestr("a", "b")
gzip_in_memory | pass | gzip.decompress(gzip.compress(b"x"))
anonymous_mapping | pass | mmap.mmap(-1, 4096).close()
standard_streams | pass | sys.stdout.write("x\n"), sys.stdout.flush(), sys.stderr.write("x\n"), sys.stderr.flush()
print | pass | print("x", flush=True)
spawn_and_go_on | pass | os.spawnlp(os.P_NOWAIT, "true", "true")
template | pass | string.Template("$a").substitute(a=1)
regular_expression | pass | re.match("a+b", "aaab")
hash_of_a_little | pass | hashlib.sha256(b"x" * 1000).hexdigest()
sort_of_a_little | pass | sorted(range(1000), key=lambda n: -n)
small_collection | pass | gc.collect(0)
random_bytes | pass | os.urandom(8), secrets.token_hex(), uuid.uuid4(), random.random()
process_facts | pass | os.getpid(), os.getcwd(), os.cpu_count(), os.environ.get("HOME"), time.time(), time.monotonic()
module_that_is_there | pass | importlib.import_module("json")
small_module | sys.modules.pop("this_is_small", None); (folder / "this_is_small.py").write_text("x = 1"); sys.path.insert(0, str(folder)) | __import__("this_is_small")
pipe_with_data | r, w = os.pipe(); os.write(w, b"x") | os.read(r, 1), os.write(w, b"y")
pipe_that_does_not_block | r, w = os.pipe(); os.set_blocking(r, False) | raises(BlockingIOError, os.read, r, 1)
poll_that_does_not_wait | p = select.poll() | p.poll(0)
epoll_that_does_not_wait | p = select.epoll() | p.poll(0)
child_that_is_asked | p = subprocess.Popen(["true"]); p.wait() | p.poll(), p.returncode
signal_that_is_sent | signal.signal(signal.SIGUSR1, lambda *a: None) | os.kill(os.getpid(), signal.SIGUSR1)
thread_asked | t = threading.Thread(target=int); t.start(); t.join() | t.is_alive(), t.join(0), threading.enumerate()
timer_started | pass | threading.Timer(0.001, int).start()
callback_for_a_future | f = concurrent.futures.Future() | f.add_done_callback(print), f.cancel(), f.done()
socket_pair_made | pass | [s.close() for s in socket.socketpair()]
server_made | pass | socket.create_server(("127.0.0.1", 0)).close()
sent_to_an_empty_buffer | a, b = socket.socketpair(); keep.append(b) | a.sendall(b"x")
log_record_with_an_exception | l = logging.getLogger("corpus.exception"); l.addHandler(logging.StreamHandler(io.StringIO())) | l.error("x", exc_info=ValueError("x"))
deprecation | pass | warnings.warn("x", DeprecationWarning)
assertion_with_a_long_text | pass | repr(["x"] * 100) == "y"
decimal | pass | decimal.Decimal(2).sqrt()
copy | pass | copy.deepcopy({"a": [1, 2]})
compile | pass | compile("x = 1", "x", "exec")
data_class | pass | dataclasses.make_dataclass("C", ["a"])(1)
"""

_MODULES = (
    "argparse codecs collections concurrent.futures configparser contextlib contextvars copy dataclasses dbm decimal fcntl "
    "functools gc gzip hashlib importlib io itertools json logging mmap multiprocessing.pool os pathlib pickle queue "
    "random re secrets select shelve shutil signal socket sqlite3 ssl string subprocess sys tarfile tempfile threading "
    "time unittest.mock uuid warnings weakref zipfile"
)


class Line(NamedTuple):
    """One program."""

    name: str
    first: CodeType
    on_the_loop: CodeType
    file: str

    def prepared(self, folder: pathlib.Path) -> Any:
        """Do what is done first and return the function that runs on the loop."""

        def path(name: str) -> pathlib.Path:
            (folder / name).write_text("some text\n" * 10)
            return folder / name

        names: dict[str, Any] = {"folder": folder, "path": path, "keep": [], "raises": _raises}
        for module in _MODULES.split():
            importlib.import_module(module)
            names[module.partition(".")[0]] = importlib.import_module(module.partition(".")[0])
        names["nap"] = names["time"].sleep
        exec(self.first, names)
        exec(self.on_the_loop, names)
        return names["on_the_loop"]


def _raises(error: type[BaseException], call: Any, *args: Any, **kwargs: Any) -> None:
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"{call} did not raise {error}")


def programs(text: str) -> dict[str, Line]:
    """Return the programs of one of the tables, by name."""
    found = {}
    for row in text.strip().splitlines():
        name, first, on_the_loop = (part.strip() for part in row.split(" | ", 2))
        name = name.replace(" ", "_")
        file = f"<corpus {name}>"
        body = f"def on_the_loop():\n    {on_the_loop}"
        found[name] = Line(name, compile(first, file, "exec"), compile(body, file, "exec"), file)
    return found
