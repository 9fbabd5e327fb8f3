"""Where torch_npu comes from and what CANN's libraries are: every way it can fail is one message."""

import importlib.metadata
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.lowering import installation, stand_ins
from porter.lowering.installation import Installation, find_or_install

TORCH = importlib.metadata.version("torch").partition("+")[0]


class Pip:
    """Stands in for pip: installs a package of one file, or says what a failing pip says."""

    def __init__(self, stderr=""):
        self.stderr, self.calls, self.lock = stderr, [], threading.Lock()

    def __call__(self, words, **options):
        with self.lock:
            self.calls.append(words)
        if self.stderr:
            return subprocess.CompletedProcess(words, 1, "", self.stderr)
        target = Path(words[words.index("--target") + 1])
        for requirement in words[words.index("--target") + 2 :]:
            name, _, version = requirement.partition("==")
            (target / name).mkdir(parents=True)
            (target / f"{name}-{version or 1}.dist-info").mkdir()
            (target / f"{name}-{version or 1}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
            (target / f"{name}-{version or 1}.dist-info" / "RECORD").write_text(f"{name}/x.so,sha256=1,1\n")
        return subprocess.CompletedProcess(words, 0, "", "")


@pytest.fixture
def pip(monkeypatch):
    pip = Pip()
    monkeypatch.setattr(installation.subprocess, "run", pip)
    monkeypatch.setattr(installation, "_REQUIREMENTS", {})
    return pip


def quiet(what, done, total):
    pass


def refusal(found):
    assert isinstance(found, Refused), found
    return found.diagnostics[0]


def test_installs_the_wheel_of_the_installed_torch_once(pip, tmp_path):
    said = []
    first = find_or_install(lambda what, done, total: said.append(what), tmp_path)
    assert isinstance(first, Installation)
    assert find_or_install(quiet, tmp_path) == first
    assert len(pip.calls) == 1
    assert "--no-deps" in pip.calls[0]
    assert f"torch_npu=={TORCH}" in pip.calls[0]
    assert said == [f"installing torch_npu {TORCH} for porter"]
    assert tmp_path in first.package.parents
    assert not any(str(tmp_path) in place for place in sys.path)


def test_installs_what_the_environment_lacks_beside_it(pip, tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "_REQUIREMENTS", {"numpy": "numpy", "nothere": "nothere==3"})
    found = find_or_install(quiet, tmp_path)
    assert [call[-1] for call in pip.calls] == [f"torch_npu=={TORCH}", "nothere==3"]
    assert (found.folders[1] / "nothere").is_dir()
    find_or_install(quiet, tmp_path)
    assert len(pip.calls) == 2


def test_several_at_once_install_once(pip, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(find_or_install(quiet, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pip.calls) == 1
    assert len(set(found)) == 1


def test_what_a_killed_install_left_is_removed(pip, tmp_path):
    find_or_install(quiet, tmp_path)
    root = next(path for path in tmp_path.iterdir() if path.is_dir())
    shutil.rmtree(root / "wheel")
    (root / "partial-killed").mkdir()
    find_or_install(quiet, tmp_path)
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["wheel"]


NO_NETWORK = f"""WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'
ERROR: Could not find a version that satisfies the requirement torch_npu=={TORCH} (from versions: none)
ERROR: No matching distribution found for torch_npu=={TORCH}
"""
NO_WHEEL = """ERROR: Could not find a version that satisfies the requirement torch_npu==9 (from versions: 2.12.0)
ERROR: No matching distribution found for torch_npu==9
"""


@pytest.mark.parametrize(
    ("stderr", "code", "message"),
    [
        (NO_NETWORK, "P113", f"pip could not install torch_npu=={TORCH} into porter's cache folder"),
        ("/usr/bin/python: No module named pip\n", "P113", f"pip could not install torch_npu=={TORCH}"),
        (NO_WHEEL, "P114", f"there is no torch_npu=={TORCH} for this Python"),
    ],
    ids=["no registry answers", "no pip", "no wheel for this torch"],
)
def test_a_failing_pip_is_one_message(pip, tmp_path, stderr, code, message):
    pip.stderr = stderr
    found = refusal(find_or_install(quiet, tmp_path))
    assert found.code == code
    assert message in found.message
    assert found.help
    root = next(path for path in tmp_path.iterdir() if path.is_dir())
    assert [path for path in root.iterdir() if path.is_dir()] == [], "nothing half installed stays"


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "riscv64")])
def test_an_unsupported_platform_says_which_are(pip, tmp_path, monkeypatch, system, machine):
    monkeypatch.setattr(installation.platform, "system", lambda: system)
    monkeypatch.setattr(installation.platform, "machine", lambda: machine)
    found = refusal(find_or_install(quiet, tmp_path))
    assert (found.code, found.message) == ("P111", f"torch_npu has no wheel for {system} on {machine}")
    assert found.help == "lower on Linux, on x86_64 or aarch64"
    assert not pip.calls


def test_the_environment_s_own_torch_npu_is_used_as_it_is(pip, tmp_path, monkeypatch):
    Pip()(["--target", str(tmp_path / "site"), f"torch_npu=={TORCH}"])
    (tmp_path / "site" / "torch_npu" / "__init__.py").write_text("raise RuntimeError('never imported here')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = find_or_install(quiet, tmp_path / "cache")
    assert found.package == tmp_path / "site" / "torch_npu"
    assert found.folders == ()
    assert not pip.calls


def test_no_compiler_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(stand_ins.shutil, "which", lambda tool: None)
    found = refusal(stand_ins.find_or_build(Installation(tmp_path, TORCH, "0" * 64, ()), tmp_path))
    assert (found.code, found.message) == (
        "P112",
        "no `cc`, `nm` here to build stand-ins for the CANN libraries with",
    )


def test_a_compiler_that_fails_is_one_message_and_leaves_nothing(tmp_path, monkeypatch):
    package = tmp_path / "torch_npu"
    package.mkdir()
    monkeypatch.setattr(stand_ins, "_wanted", lambda package: ["aclInit"])
    failed = subprocess.CompletedProcess([], 1, "", "cc: error: no linker\nmore")
    monkeypatch.setattr(stand_ins.subprocess, "run", lambda *args, **kwargs: failed)
    found = refusal(stand_ins.find_or_build(Installation(package, TORCH, "0" * 64, ()), tmp_path / "cache"))
    assert (found.code, found.notes) == ("P112", ("cc: error: no linker",))
    assert not list((tmp_path / "cache").glob("stand-ins-*[!k]"))


def test_cann_that_the_loader_finds_is_seen(tmp_path, monkeypatch):
    assert not stand_ins.cann_is_installed()
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    library = tmp_path / "libascendcl.so"
    subprocess.run(["cc", "-shared", "-x", "c", "/dev/null", "-o", str(library)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert stand_ins.cann_is_installed()
