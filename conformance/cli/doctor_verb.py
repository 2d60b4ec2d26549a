"""``conformance doctor``."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from conformance import __version__
from conformance.engine.limits import GIB, cores, default_workers, machine_memory
from conformance.suite.loader import load_suite, shipped_cases

PACKAGES = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "ml_dtypes", "rich", "hypothesis", "pytest")
CURES = {
    "CUDA": "install a CUDA build of torch (https://pytorch.org/get-started) on a machine with an NVIDIA GPU",
    "onnxruntime": "pip install onnxruntime",
    "onnxscript": "pip install onnxscript",
    "onnx": "pip install onnx",
    "torch": "pip install torch",
}

HELP = """Say what is here, what is missing, and how to get it.

\b
Example:
  conformance doctor
"""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"missing    pip install {name}"


def _cure(reason: str) -> str:
    return next((cure for word, cure in CURES.items() if word in reason), "see what the backend says")


@click.command("doctor", help=HELP)
def command() -> int:
    from conformance import backends  # what they load is imported here and by no other verb of this process

    click.echo(f"conformance {__version__}   python {platform.python_version()}   {platform.platform()}")
    memory = machine_memory() / GIB
    click.echo(f"{cores()} cores, {memory:.0f} GiB of memory: {default_workers()} workers by default")
    names = backends.names()
    wide = max(map(len, (*PACKAGES, *names))) + 2
    for name in PACKAGES:
        click.echo(f"  {name:<{wide}}{_version(name)}")
    click.echo("backends")
    for name in names:
        try:
            missing = backends.load(name).available()
        except ImportError as error:
            missing = str(error)
        click.echo(f"  {name:<{wide}}{'ready' if missing is None else f'missing: {missing}'}")
        if missing is not None:
            click.echo(f"  {'':<{wide}}to get it: {_cure(missing)}")
    suite = load_suite()
    click.echo(
        f"cases\n  {len(suite.cases):,} in {len(suite.files)} files in {shipped_cases()}   digest {suite.digest}"
    )
    return 0
