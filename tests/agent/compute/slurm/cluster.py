"""A Slurm cluster of one node on loopback, for tests: started from a folder of its own, ended by process number.

`python -m tests.agent.compute.slurm.cluster COMMAND` has one for as long as the command runs.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
_SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
# More processors than there are, and files that stand for GPUs.
CPUS = 64
GPUS = ("/dev/null", "/dev/zero")
_SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=1
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,default_queue_depth=2000
MinJobAge=300
MessageTimeout=3
KillWait=2
SlurmdTimeout=6
ReturnToService=2
GresTypes=gpu
SlurmdParameters=config_overrides
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=500 PriorityTier=10
PartitionName=spare Nodes={host} MaxTime=INFINITE DefMemPerCPU=500 PriorityTier=1
"""


def missing() -> str:
    """Why no cluster can be started here; "" where one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_SYSTEM_PATH) is None]
    if absent:
        return f"Slurm is not installed ({', '.join(absent)}); on Debian: slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "only root can start a Slurm cluster"
    try:
        pwd.getpwnam("munge")
    except KeyError:
        return "there is no user munge"
    return ""


@contextmanager
def running() -> Iterator["Cluster"]:
    """A cluster that takes jobs, led to by SLURM_CONF; gone afterwards."""
    # Not a folder of pytest's: munged, another user, has to get into it.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    before = os.environ.get("SLURM_CONF")
    cluster = Cluster(folder)
    os.environ["SLURM_CONF"] = str(cluster.config)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder)


class Cluster:
    """munged, slurmctld and slurmd, in the foreground.

    Args:
        folder: An empty folder that the user munge can reach.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._write()

    def start(self) -> None:
        """Start all three and wait until the node takes jobs."""
        munge = self.folder / "munge"
        options = [f"--{name}={munge / name}" for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")]
        self._spawn("munged", ["--foreground", *options], user="munge")
        wait_until((munge / "socket").exists, "munged did not start")
        self.start_controller()
        self.start_node()

    def start_controller(self) -> None:
        """Start slurmctld, which takes up where it was."""
        self._spawn("slurmctld", ["-D", "-f", str(self.config)])
        wait_until(lambda: self._says(["scontrol", "ping"], "UP"), "slurmctld does not answer")

    def start_node(self) -> None:
        """Start slurmd, and wait until the node takes jobs."""
        self._spawn("slurmd", ["-D", "-f", str(self.config)])
        wait_until(lambda: self._says(["sinfo", "-h", "-o", "%t"], "idle", "mix"), "the node is not idle")

    def end(self, name: str, how: signal.Signals) -> None:
        """End a daemon; the controller forgets its last jobs where it is not asked for it."""
        process = self._running.pop(name)
        process.send_signal(how)
        process.wait(60)

    def stop(self) -> None:
        """Cancel every job, and end what was started."""
        if "slurmctld" in self._running and "slurmd" in self._running:
            self.call("scancel", "--user=root")
            wait_until(lambda: not self.call("squeue", "-h", "-o", "%A"), "jobs do not end")
        for name in ("slurmd", "slurmctld", "munged"):
            if process := self._running.pop(name, None):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def call(self, *command: str) -> str:
        """The output of a client of Slurm; it may fail."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def of_job(self, job: str) -> list[Path]:
        """The processes that Slurm started for a job on its node; another cluster may have a job of that number."""
        found = processes(f"SLURM_CONF={self.config}")
        step = f"slurmstepd: [{job}."
        return [
            one for one in found if step in read(one / "cmdline") or f"SLURM_JOB_ID={job}\0" in read(one / "environ")
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The environment for clients."""
        return {"PATH": _SYSTEM_PATH, "SLURM_CONF": str(self.config)}

    def _write(self) -> None:
        munge = self.folder / "munge"
        for path in (munge, self.folder / "spool", self.folder / "state"):
            path.mkdir(parents=True)
        subprocess.run(["mungekey", "--create", f"--keyfile={munge / 'key-file'}"], env=self.environment, check=True)
        shutil.chown(munge, "munge", "munge")
        shutil.chown(munge / "key-file", "munge", "munge")
        munge.chmod(0o755)
        controller, daemon = _free_ports(2)
        host = socket.gethostname().split(".")[0]
        values = {"host": host, "folder": self.folder, "controller": controller, "daemon": daemon}
        self.config.write_text(_SLURM_CONF.format(**values, cpus=CPUS, gpus=len(GPUS)))
        lines = [f"NodeName={host} Name=gpu File={path}\n" for path in GPUS]
        # No part of it is used; the second version would look for systemd.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "gres.conf").write_text("AutoDetect=off\n" + "".join(lines))

    def _spawn(self, name: str, arguments: Sequence[str], user: str | None = None) -> None:
        program = shutil.which(name, path=_SYSTEM_PATH)
        assert program
        with (self.folder / f"{name}.out").open("ab") as out:
            os.fchmod(out.fileno(), 0o666)
            self._running[name] = subprocess.Popen(
                [program, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd=self.folder,
            )

    def _says(self, command: list[str], *wanted: str) -> bool:
        dead = [name for name, process in self._running.items() if process.poll() is not None]
        if dead:
            raise RuntimeError(f"{dead[0]} ended; its output is in {self.folder}")
        said = self.call(*command)
        return any(word in said for word in wanted)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def processes(word: str) -> list[Path]:
    """Processes with a word in their environment."""
    return [entry for entry in Path("/proc").glob("[0-9]*") if word in read(entry / "environ")]


def read(path: Path) -> str:
    """A file of /proc; "" for a process that has ended."""
    with suppress(OSError):
        return path.read_bytes().decode(errors="replace")
    return ""


def wait_until(done: Callable[[], bool], problem: str = "it did not come", seconds: float = 120) -> None:
    """Look ten times a second whether something has come.

    Raises:
        TimeoutError: It did not.
    """
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(problem)
        time.sleep(0.1)


def main() -> int:
    """Run a command beside a cluster, and return its exit code."""
    if problem := missing():
        sys.stderr.write(f"error: {problem}\n")
        return 2
    with running():
        return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
