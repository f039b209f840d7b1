"""A model that was loaded, and used, before a process is forked: it answers in the child, whatever threads did."""

import subprocess
import sys
from pathlib import Path

import pytest

from promptseg.errors import EngineError
from promptseg.runtime import torch_graph

# A process of its own: the tests' own process has threads of several engines.
SCRIPT = """
import multiprocessing, os, sys, threading
import numpy as np
import promptseg

name, engine = sys.argv[1:]
model = promptseg.load(name, engine=engine, threshold=0.0, offline=True)
query = "cat" if "text" in model.prompt_kinds else promptseg.PointPrompt([(30, 20)])
noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
embedding = model.encode(noise)
expected = model.segment(embedding, query)[0]

def answer(image):
    result = model.segment(image, query)[0]
    return result.presence, int(result.mask.sum())

def compute_on_and_on():
    while not done.is_set():
        model.segment(noise, query)

done = threading.Event()
thread = threading.Thread(target=compute_on_and_on)
thread.start()
with multiprocessing.get_context("fork").Pool(2) as pool:
    # of an embedding that the parent made, of an image of the same size, and of one that needs graphs of its own
    embedded, *same, other = pool.map(answer, [embedding, noise, noise, noise.transpose(1, 0, 2)])
done.set()
thread.join()
wanted = (expected.presence, int(expected.mask.sum()))
assert answer(embedding) == wanted
for presence, area in (embedded, *same):  # a child computes with another number of threads
    assert abs(presence - wanted[0]) < 1e-5 and abs(area - wanted[1]) <= 2, (presence, area, wanted)
print("the parent and its children agree")
"""


@pytest.mark.parametrize(("name", "engine"), [("promptseg-test", "torch"), ("sam-test", "openvino")])
def test_a_model_that_was_used_answers_in_forked_processes(name: str, engine: str) -> None:
    if sys.platform != "linux":
        pytest.skip("only here processes are forked")
    done = subprocess.run([sys.executable, "-c", SCRIPT, name, engine], capture_output=True, text=True, timeout=200)
    assert done.stdout == "the parent and its children agree\n", done.stderr


def test_a_lock_that_another_thread_holds_is_free_after_a_fork() -> None:
    script = """
import os, threading
from promptseg.ops.fork_lock import ForkLock

lock, held, release = ForkLock(), threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        release.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    with lock:
        os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
release.set()
thread.join()
"""
    if not hasattr(torch_graph.os, "fork"):
        pytest.skip("this system has no forks")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_fork_waits_for_a_quiet_lock() -> None:
    script = """
import os, threading, time, warnings
from promptseg.ops.fork_lock import QuietForkLock

warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of every fork beside threads
locks = [QuietForkLock() for _ in range(3)]
held, released = threading.Event(), []

def hold():
    with locks[1]:
        held.set()
        time.sleep(0.3)
        released.append(True)

def fork():
    child = os.fork()
    if child == 0:
        for lock in locks:
            with lock:
                pass
        os._exit(7 if released else 8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

threads = [threading.Thread(target=hold)]
threads[0].start()
held.wait()
threads += [threading.Thread(target=fork) for _ in range(2)]
for thread in threads[1:]:
    thread.start()
for thread in threads:
    thread.join()
for lock in locks:
    with lock:
        print("free")
"""
    if not hasattr(torch_graph.os, "fork"):
        pytest.skip("this system has no forks")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("free\n" * 3, "")


# A child that starts while another thread exports and compiles: it loads the model itself, or takes the loaded one.
LOADING = """
import os, sys, threading, time
import numpy as np
import promptseg
from promptseg.runtime import openvino_graph

compiling, steps = threading.Event(), []
plain = openvino_graph._Compiler.compile

def compile(self, model, settings):
    with self._lock:
        steps.append("compiling")
        compiling.set()
        time.sleep(0.5)  # a compilation that takes its time
        steps.append("done")
    return plain(self, model, settings)

openvino_graph._Compiler.compile = compile
noise = np.zeros((40, 60, 3), np.uint8)

def load_and_segment():
    model = promptseg.load("sam-test", engine="openvino", threshold=0.0, offline=True)
    return model.segment(noise, promptseg.PointPrompt([(30, 20)]))[0].presence

thread = threading.Thread(target=load_and_segment)
thread.start()
assert compiling.wait(100)
child = os.fork()
if child == 0:
    if steps[-1] != "done":
        os._exit(8)
    load_and_segment()
    os._exit(7)
deadline = time.monotonic() + 100
while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        break
    time.sleep(0.05)
else:
    os.kill(child, 9)
    sys.exit("the child hangs")
thread.join()
print(os.waitstatus_to_exitcode(status))
"""


def test_a_child_that_starts_while_a_model_is_compiled_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only here processes are forked")
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, timeout=250)
    assert done.stdout == "7\n", done.stderr


def test_a_gpu_is_refused_in_a_forked_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_graph, "_LOADING_PROCESS", 0)
    with pytest.raises(EngineError, match="a model on cuda:1 can't be used in a process that was forked after it"):
        torch_graph.TorchGraph(object(), "cuda:1")  # type: ignore[arg-type]
