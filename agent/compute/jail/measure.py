"""The use of a tree of processes: memory, processes and threads, and what it keeps on the disk."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SHARED_MEMORY = "/dev/shm"
_BLOCK = 512
_IN_MEMORY = ("/memfd:", "/dev/shm/", "/dev/zero", "/SYSV")


@dataclass(frozen=True)
class Held:
    """Files that have no name any more but are open: they are on no list, yet take their room.

    Args:
        disk: Bytes on a disk.
        memory: Bytes in memory (memfd, shared memory).
    """

    disk: int
    memory: int


def tree(root: int) -> list[int]:
    """The living descendants of a process, parents first; the process itself is left out."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        children = [child for parent in waiting for child in _children(parent)]
        found += children
        waiting = children
    return found


def _children(process: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for thread in threads:
        yield from map(int, _text(f"/proc/{process}/task/{thread}/children").split())


def threads(processes: Iterable[int]) -> int:
    """The number of threads of the processes, the first one of each counted too."""
    return sum(int(_status(process).get("Threads", "0")) for process in processes)


def memory(processes: list[int], limit: int | None) -> tuple[int, int]:
    """Bytes of memory that the processes hold: their own, and shared; of files that they mapped nothing counts.

    Args:
        processes: Their numbers.
        limit: Above it pages that several processes share are counted once, which takes longer to find out.
    """
    found = [_status(process) for process in processes]
    own, shared = _sum(found, "RssAnon", "VmSwap", "HugetlbPages"), _sum(found, "RssShmem")
    if limit is None or own + shared <= limit:
        return own, shared
    exact = [fields for process in processes if (fields := _fields(f"/proc/{process}/smaps_rollup"))]
    if not any("Pss_Anon" in fields for fields in exact):  # Linux before 5.9
        return own, shared
    return _sum(exact, "Pss_Anon", "SwapPss", "Private_Hugetlb", "Shared_Hugetlb"), _sum(exact, "Pss_Shmem")


def held(processes: Iterable[int]) -> Held:
    """The open files without a name."""
    sizes: dict[tuple[int, int], tuple[int, bool]] = {}
    for process in processes:
        folder = f"/proc/{process}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            try:
                found = os.stat(f"{folder}/{name}")
                if not stat.S_ISREG(found.st_mode) or found.st_nlink:
                    continue
                target = os.readlink(f"{folder}/{name}")
            except OSError:
                continue
            sizes[found.st_dev, found.st_ino] = (found.st_blocks * _BLOCK, target.startswith(_IN_MEMORY))
    return Held(
        sum(size for size, in_memory in sizes.values() if not in_memory),
        sum(size for size, in_memory in sizes.values() if in_memory),
    )


class Hidden(Exception):
    """A folder is closed, or too deep, to be looked into."""


def folders(paths: Iterable[str], most: int | None = None) -> tuple[int, int]:
    """The bytes on disk and the number of files and folders beneath some folders; links are not followed.

    Args:
        paths: The folders.
        most: Stop counting above so many files.

    Raises:
        Hidden: What is in a folder cannot be counted.
    """
    size = count = 0
    seen: set[tuple[int, int]] = set()
    waiting = list(paths)
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    count += 1
                    found = entry.stat(follow_symlinks=False)
                    if (found.st_dev, found.st_ino) not in seen:
                        size += found.st_blocks * _BLOCK
                    if found.st_nlink > 1:
                        seen.add((found.st_dev, found.st_ino))
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):  # gone while it was looked at
            continue
        except OSError as error:
            raise Hidden(folder) from error
        if most is not None and count > most:
            break
    return size, count


def in_own_shared_memory(process: int) -> int:
    """Bytes used in a process's /dev/shm where that is its own, not the machine's; 0 where it cannot be seen."""
    theirs = f"/proc/{process}/root{SHARED_MEMORY}"
    try:
        if os.stat(theirs).st_dev == os.stat(SHARED_MEMORY).st_dev:
            return 0
        found = os.statvfs(theirs)
    except OSError:
        return 0
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def out_of_memory_kills() -> int:
    """The number of times that the kernel has killed for lack of memory since it was started."""
    return int(_fields("/proc/vmstat", " ").get("oom_kill", "0"))


def _status(process: int) -> dict[str, str]:
    return _fields(f"/proc/{process}/status")


def _sum(processes: Iterable[dict[str, str]], *names: str) -> int:
    return 1024 * sum(int(fields[name].split()[0]) for fields in processes for name in names if name in fields)


def _fields(path: str, separator: str = ":") -> dict[str, str]:
    lines = (line.partition(separator) for line in _text(path).splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
