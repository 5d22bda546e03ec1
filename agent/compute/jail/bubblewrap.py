"""A command in namespaces of its own: the arguments of bubblewrap (bwrap)."""

import os

from agent.compute.jail.measure import SHARED_MEMORY
from agent.compute.jail.spec import Spec

# Everything is unshared, the capabilities of root among it, and no more namespaces can be made inside.
ISOLATION = [
    *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--cap-drop", "ALL", "--hostname", "sandbox"),
]


def arguments(spec: Spec) -> list[str]:
    """The options that make a file system of what the spec names, and nothing else.

    Args:
        spec: The command and what it may touch.

    Returns:
        Options of bwrap, without its file descriptors and without the command.
    """
    # /proc/sys and others are writable to root even in a user namespace, so /proc is read-only as a whole.
    options = [*ISOLATION, "--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
    if spec.limits.memory is not None:
        options += ["--size", str(spec.limits.memory)]
    options += ["--tmpfs", SHARED_MEMORY]
    for node in spec.devices:
        options += ["--dev-bind", node, node]
    options += ["--remount-ro", "/dev"]
    mounts = dict.fromkeys(spec.readable, "--ro-bind") | dict.fromkeys(spec.writable, "--bind")
    links: dict[str, str] = {}
    places = {"/tmp": ("--bind", spec.private)} if spec.private else {}
    for path, kind in mounts.items():
        real = _follow(path, links)
        if real is not None:
            places[real] = (kind, real)
    for place in sorted(places, key=lambda path: path.split("/")):
        kind, source = places[place]
        options += [kind, source, place]
    for place in filter(os.path.isdir, spec.hidden):
        options += ["--tmpfs", place, "--remount-ro", place]
    for link, target in links.items():
        if not any(link.startswith(place + "/") for place in places if place != "/tmp"):
            options += ["--symlink", target, link]
    # What bwrap makes to mount things on is a file system in memory: not to be written to either.
    options += ["--dir", spec.cwd, "--remount-ro", "/", "--chdir", spec.cwd]
    for name, value in spec.env.items():
        options += ["--setenv", name, value]
    return options


def _follow(path: str, links: dict[str, str]) -> str | None:
    """Follow a path, noting every symbolic link on the way; None where there is nothing."""
    done, rest = "/", [part for part in path.split("/") if part]
    for _ in range(1000):
        if not rest:
            return done if os.path.exists(done) else None
        here = os.path.normpath(os.path.join(done, rest.pop(0)))
        if not os.path.islink(here):
            done = here
            continue
        links[here] = os.readlink(here)
        target = os.path.join(done, links[here])
        done, rest = "/", [*(part for part in target.split("/") if part), *rest]
    return None
