"""A real ComfyUI in a process of its own, driven over its HTTP API."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layouts.original import State
from safetensors.torch import load_file
from server.running import environment

START = Path(__file__).with_name("start_comfyui.py")
SECONDS = 240  # in which anything asked of it must have happened

Workflow = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class RunningComfyUI:
    """A ComfyUI that runs, and the folder of its models, outputs and custom nodes."""

    url: str
    folder: Path
    log: Path

    def ask(self, path: str, document: object = None) -> Any:
        """The JSON that it answers with, also to a request that it refuses."""
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def run(self, workflow: Workflow) -> str | None:
        """Run a workflow. Returns the message of the node that failed, None if all succeeded."""
        queued = self.ask("/prompt", {"prompt": workflow})
        assert "prompt_id" in queued, queued
        deadline = time.monotonic() + SECONDS
        while not (history := self.ask(f"/history/{queued['prompt_id']}")):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        messages = dict(history[queued["prompt_id"]]["status"]["messages"])
        if "execution_error" in messages:
            return str(messages["execution_error"]["exception_message"]).strip()
        assert "execution_success" in messages, messages
        return None

    def saved(self, prefix: str) -> State:
        """The tensors of the last file that a save node wrote under this prefix."""
        return load_file(sorted((self.folder / "output").glob(f"{prefix}_*.safetensors"))[-1])


@contextlib.contextmanager
def comfyui(folder: Path, **variables: str) -> Iterator[RunningComfyUI]:
    """Start ComfyUI on that folder, on the CPU and with text encoders in fp32."""
    for part in ("custom_nodes", "input", "models/checkpoints", "output", "page", "user"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "page" / "index.html").write_text("")
    log, port = folder / "log", _free_port()
    command = [sys.executable, str(START), "--cpu", "--fp32-text-enc", "--port", str(port)]
    command += ["--base-directory", str(folder), "--front-end-root", str(folder / "page")]
    command += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment(**variables), cwd=folder
        )
    try:
        running = RunningComfyUI(f"http://127.0.0.1:{port}", folder, log)
        deadline = time.monotonic() + SECONDS
        while not _answers(running):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(running: RunningComfyUI) -> bool:
    try:
        return bool(running.ask("/system_stats"))
    except (urllib.error.URLError, ConnectionError):
        return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
