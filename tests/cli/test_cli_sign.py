"""`dsvd sign`, `verify --signer`, and signatures in `show`, `export` and `import`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .conftest import Dsvd
from .program import run

FIRST = "subject-42@1"
# As for a user who installed no extra.
WITHOUT = """
import sys
sys.modules["cryptography"] = None
from dsvd_registry.cli import main
sys.exit(main())
"""


@pytest.fixture
def keys(here: Path) -> None:
    """Two pairs of keys: `mine` and `mine.pub`, `other` and `other.pub`; and `locked`, mine too."""
    pem, openssh = serialization.Encoding.PEM, serialization.Encoding.OpenSSH
    form = serialization.PrivateFormat.PKCS8
    for seed, name in enumerate(("mine", "other"), start=1):
        private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        plain = private.private_bytes(pem, form, serialization.NoEncryption())
        locked = private.private_bytes(pem, form, serialization.BestAvailableEncryption(b"word"))
        line = private.public_key().public_bytes(openssh, serialization.PublicFormat.OpenSSH)
        (here / name).write_bytes(plain)
        (here / f"{name}.locked").write_bytes(locked)
        (here / f"{name}.pub").write_bytes(line)


pytestmark = pytest.mark.usefixtures("filled", "keys")
MINE = "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8"


def test_sign_and_verify(dsvd: Dsvd) -> None:
    assert dsvd("sign", FIRST, "--key", "mine").out == f"signed {FIRST} by {MINE}\n"
    assert dsvd("sign", FIRST, "--key", "mine").out == f"{FIRST} was signed by {MINE} already\n"
    assert dsvd("verify", FIRST, "--signer", "mine.pub").code == 0
    assert dsvd("verify").code == 0
    done = dsvd("verify", "--all", "--signer", "mine.pub")
    assert done.code == 1
    assert done.out == (
        f"subject-42@2: there is no valid signature by {MINE}\n2 versions, 1 base: 1 finding\n"
    )
    done = dsvd("verify", FIRST, "--signer", "other.pub", "--json")
    assert done.code == 1
    (finding,) = done.document["findings"]
    assert finding["subjects"] == [FIRST]


def test_documents(dsvd: Dsvd) -> None:
    signed = dsvd("sign", FIRST, "--key", "mine", "--json").document
    assert set(signed) == {"ref", "signer", "signature", "created"}
    assert (signed["ref"], signed["signer"], signed["created"]) == (FIRST, MINE, True)
    dsvd("sign", FIRST, "--key", "other")
    signers = dsvd("show", FIRST, "--json").document["signers"]
    assert [set(signer) for signer in signers] == [{"fingerprint", "added"}] * 2
    assert signers[0]["fingerprint"] == MINE
    assert dsvd("show", "subject-42@2", "--json").document["signers"] == []


def test_show_lists_the_signers(dsvd: Dsvd) -> None:
    assert "signed by" not in dsvd("show", FIRST).out
    dsvd("sign", FIRST, "--key", "mine")
    assert any(
        line.startswith("signed by") and line.endswith(MINE)
        for line in dsvd("show", FIRST).out.splitlines()
    )


def test_they_travel(dsvd: Dsvd, here: Path, checkpoints: Path) -> None:
    dsvd("sign", FIRST, "--key", "mine")
    done = dsvd("export", FIRST, "--format", "dsvd", "-o", "it.dsvd")
    assert done.out.splitlines()[2] == "wrote it.dsvd.sig: its signatures"
    there = ("--registry", "there")
    dsvd(*there, "init")
    dsvd(*there, "base", "add", "base", checkpoints / "base.safetensors")
    done = dsvd(*there, "import", "it.dsvd")
    assert done.out.splitlines()[1] == f"signed by {MINE}"
    document = dsvd(*there, "import", "it.dsvd", "--json").document
    assert [signer["fingerprint"] for signer in document["signers"]] == [MINE]
    assert dsvd(*there, "verify", "it", "--signer", "mine.pub").code == 0
    assert dsvd("export", "subject-42@2", "--format", "dsvd", "-o", "two.dsvd").code == 0
    (here / "it.dsvd.sig").rename(here / "two.dsvd.sig")
    done = dsvd(*there, "import", "two.dsvd")
    assert done.code == 12
    assert "is not of this container" in done.err
    assert dsvd(*there, "import", "two.dsvd", "--json").error["type"] == "SignatureError"
    assert [one["ref"] for one in dsvd(*there, "ls", "--json").document] == ["it@1"]


def test_the_passphrase(dsvd: Dsvd, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("sign", FIRST, "--key", "mine.locked")
    monkeypatch.setattr("sys.stdin", io.StringIO("word\n"))
    done = dsvd(*words)
    assert done.code == 2
    assert "DSVD_KEY_PASSPHRASE" in done.err
    monkeypatch.setenv("DSVD_KEY_PASSPHRASE", "sword")
    done = dsvd(*words)
    assert done.code == 2
    assert "the passphrase of mine.locked is wrong" in done.err
    monkeypatch.setenv("DSVD_KEY_PASSPHRASE", "word")
    assert dsvd(*words).out == f"signed {FIRST} by {MINE}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("sign subject-42@1 --key mine.pub", 2),
        ("sign subject-42@1 --key it.dsvd", 9),
        ("sign subject-42@1", 2),
        ("sign subject-42@9 --key mine", 3),
        ("verify --signer mine", 2),
        ("verify --signer nothing.pub", 9),
        ("verify subject-42@9 --signer mine.pub", 3),
    ],
)
def test_what_is_refused(dsvd: Dsvd, words: str, code: int) -> None:
    done = dsvd(*words.split(), "--json")
    assert done.code == code
    assert done.error["hint"]
    assert dsvd("verify").code == 0


def test_without_the_package(dsvd: Dsvd, here: Path, checkpoints: Path) -> None:
    """Commands that need the package say so and how to install it; nothing unchecked is accepted."""

    def without(*words: str) -> tuple[int, str]:
        done = run(sys.executable, "-c", WITHOUT, *words, cwd=here)
        return done.code, done.out + done.err

    hint = "pip install 'dsvd-registry[sign]'"
    for words in (f"sign {FIRST} --key mine", "verify --signer mine.pub"):
        code, said = without(*words.split())
        assert code == 2
        assert hint in said
    assert without("verify")[0] == 0
    dsvd("sign", FIRST, "--key", "mine")
    assert without("show", FIRST)[0] == 0
    code, said = without("verify")
    assert code == 1
    assert f"the signature by {MINE}: signatures need the package cryptography" in said
    assert without("export", FIRST, "--format", "dsvd", "-o", "it.dsvd")[0] == 0
    dsvd("--registry", "there", "init")
    dsvd("--registry", "there", "base", "add", "base", checkpoints / "base.safetensors")
    code, said = without("--registry", "there", "import", "it.dsvd")
    assert code == 2
    assert hint in said
    assert dsvd("--registry", "there", "ls", "--json").document == []
