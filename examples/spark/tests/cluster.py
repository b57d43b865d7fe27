"""A standalone Spark on this machine: a master and workers, each a process of its own that can be killed, and jobs submitted to them."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(sys.executable).parent
HERE = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    **os.environ,
    "SPARK_LOCAL_IP": "127.0.0.1",
    "PYSPARK_PYTHON": sys.executable,
    "PYSPARK_DRIVER_PYTHON": sys.executable,
    # Nothing of another Spark.
    **dict.fromkeys(("SPARK_HOME", "SPARK_CONF_DIR", "PYTHONPATH"), ""),
}
ENVIRONMENT = {name: value for name, value in ENVIRONMENT.items() if value}


def wait_for(what, condition, seconds=120):
    """What the condition gives, once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class Process:
    """A program of Spark's in a process group of its own, and its log."""

    def __init__(self, folder, name, *words):
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as log:
            command = [SCRIPTS / "spark-class", *words]
            self.process = subprocess.Popen(
                command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def logged(self, pattern):
        def found():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} has ended:\n{self.log.read_text()}")
            return re.search(pattern, self.log.read_text(errors="replace"))

        return wait_for(f"{pattern!r} in the log of {self.name}", found)

    def kill(self):
        """Kills it and what it started, at once, as a machine does that loses its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Worker(Process):
    """A worker with one core, and so one executor an application."""

    def __init__(self, folder, name, master):
        self.work = folder / f"{name}-work"
        deploy = "org.apache.spark.deploy.worker.Worker"
        flags = ["--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1g"]
        super().__init__(folder, name, deploy, *flags, "--work-dir", str(self.work), master)
        self.logged("Successfully registered with master")

    def executors(self):
        """Application, executor and log of each executor that this worker has started, the newest last."""
        logs = sorted(self.work.glob("app-*/*/stderr"))
        return [(log.parts[-3], log.parts[-2], log.read_text(errors="replace")) for log in logs]


class Cluster:
    """A master and two workers."""

    def __init__(self, folder):
        self.folder, self.processes, self.workers = folder, [], []
        self.events = folder / "events"
        self.events.mkdir()
        self.jobs = 0

    def open(self):
        """Starts them; who does so stops them, whatever comes."""
        deploy = "org.apache.spark.deploy.master.Master"
        master = Process(self.folder, "master", deploy, "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        self.processes.append(master)
        self.url = master.logged(r"Starting Spark master at (spark://\S+)")[1]
        self.workers = [self.worker("worker-1"), self.worker("worker-2")]

    def worker(self, name):
        self.processes.append(Worker(self.folder, name, self.url))
        return self.processes[-1]

    def stop(self):
        for process in self.processes:
            if process.process.poll() is None:
                process.kill()

    def start(self, script, *words, **settings):
        """Submits one of the examples; returns its process and its log."""
        self.jobs += 1
        log = self.folder / f"job-{self.jobs}-{script}.log"
        settings = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.executor.memory": "512m",
            "spark.sql.shuffle.partitions": "4",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": self.events.as_uri(),
            # A file that tools can read while it is written.
            "spark.eventLog.compress": "false",
            "spark.eventLog.rolling.enabled": "false",
            **settings,
        }
        flags = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        command = [SCRIPTS / "spark-submit", "--master", self.url, *flags, HERE / script, *words]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(word) for word in command], env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        return process, log

    def run(self, script, *words, **settings):
        process, log = self.start(script, *words, **settings)
        self.finish(process, log)

    def finish(self, process, log):
        if process.wait(timeout=600) != 0:
            raise AssertionError(f"the job failed:\n{log.read_text(errors='replace')[-8000:]}")

    def events_of(self, application):
        """What happened in an application that has ended, in its order."""
        (log,) = [path for path in self.events.iterdir() if path.name.startswith(application)]
        assert not log.name.endswith(".inprogress"), log
        return [json.loads(line) for line in log.read_text().splitlines()]
