"""The script, put together."""

from __future__ import annotations

from textwrap import wrap

from conformance import __version__
from conformance.repro import onnx_code, step_code, torch_code
from conformance.repro.block import WIDTH, Block, joined
from conformance.repro.call import of_one_call
from conformance.repro.definition import definition_block
from conformance.repro.fault import Fault
from conformance.repro.given import given_block
from conformance.repro.whole import whole_block
from references.rounding import FORMATS

_FIRST = ("import numpy as np", "import torch")


MOST_LINES = 60
_MOST_BYTES = 16_000  # of packed inputs that may still be pasted


def written(fault: Fault) -> str:
    """The whole script; the inputs are packed where it would be too long with the code that generates them.

    Raises:
        ConformanceError: a network shows a fault that is none of its layers.
    """
    fault = of_one_call(fault)
    plain = _written(fault, given_block(fault))
    if lines_of(plain) <= MOST_LINES:
        return plain
    packed = _written(fault, given_block(fault, pack=True))
    return packed if lines_of(packed) < lines_of(plain) and len(packed) <= _MOST_BYTES else plain


def lines_of(script: str) -> int:
    """Lines that are not empty."""
    return sum(bool(line.strip()) for line in script.splitlines())


def _written(fault: Fault, given: Block) -> str:
    if fault.kind == "dies":
        return _assembled(fault, _dying(fault, given))
    if fault.kind in ("raises", "accepts"):
        return _assembled(fault, given + torch_code.layout_block(fault) + _excepting(fault))
    layer = Block() if fault.backend.name == "onnx-training" else torch_code.layer_block(fault)
    computed = layer + got_block(fault)
    if fault.kind == "structure":
        return _assembled(fault, given, computed, _structure(fault))
    if fault.whole:
        return _assembled(fault, given, computed, whole_block(fault, given + layer), _verdict_in_norm(fault))
    return _assembled(fault, given, computed, definition_block(fault, given), _verdict(fault))


def got_block(fault: Fault) -> Block:
    """What the backend computes: ``got`` as an array, and ``y`` as it came."""
    name = fault.backend.name
    if name.startswith("torch"):
        return torch_code.run_block(fault)
    if name == "onnx-step":
        return step_code.step_block(fault)
    if name == "onnx-training":
        return onnx_code.training_block(fault)
    if name == "onnx-reference":
        return onnx_code.exported_block(fault, "dynamo", "reference")
    return onnx_code.exported_block(fault, name.removeprefix("onnx-"))


def _assembled(fault: Fault, *blocks: Block) -> str:
    imports = {"import sys", "import numpy as np"}.union(*(block.imports for block in blocks))
    standard = sorted(each.removeprefix("import ") for each in imports if _standard(each))
    foreign = sorted(each for each in imports if not _standard(each))
    plain = [each.removeprefix("import ") for each in foreign if each.startswith("import ") and " as " not in each]
    rest = [each for each in foreign if each.startswith("from ") or " as " in each]
    head = [f"import {', '.join(standard)}", *rest, *([f"import {', '.join(plain)}"] if plain else [])]
    parts = ['"""' + _docstring(fault) + '"""\n' + "\n".join(head)]
    parts += [block.text.rstrip() for block in blocks if block.lines]
    return "\n\n".join(parts) + "\n"


def _standard(statement: str) -> bool:
    return statement.split()[1].partition(".")[0] in {
        "base64", "copy", "ctypes", "hashlib", "io", "math", "subprocess", "sys", "zlib", "re",
    }  # fmt: skip


def _docstring(fault: Fault) -> str:
    case = fault.case
    backend = ", ".join(f"{name} {version}" for name, version in fault.backend.versions().items())
    told = _told(fault)
    lines = wrap(f"{told[0].upper()}{told[1:]}.", WIDTH)
    if fault.why:
        lines += wrap(f"Known: {' '.join(fault.why.split())}", WIDTH, max_lines=2, placeholder=" ...")
    lines += wrap(f"Case {case.id} ({case.key}); found with {backend}, by conformance {__version__}.", WIDTH)
    lines.append("Exits 1 while the fault is there, 0 when it is gone.")
    return "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''") + "\n"


def _told(fault: Fault) -> str:
    """The fault in one sentence."""
    figure, where = fault.figure, f"{fault.case.op} ({fault.case.dtype}, {fault.backend.name})"
    if figure is not None and figure.budget is not None:
        return f"the {figure.quantity} of {where} is {figure.budget:.3g} times as far off as rounding explains"
    if figure is not None:
        return f"the {figure.quantity} of {where} is {figure.got} in place of {figure.expected}"
    if fault.kind == "dies":
        return f"the process dies of {where}"
    if fault.kind == "accepts":
        return f"{where} accepts what it should refuse"
    assert fault.raised is not None
    return f"{where} raises {fault.raised.type} where its definition has a value"


def _versions(fault: Fault) -> str:
    names = ["numpy"]
    backend = fault.backend.name
    if backend != "onnx-training":
        names.append("torch")
    if backend.startswith("onnx"):
        names.append("onnx" if backend == "onnx-reference" else "onnxruntime")
    shown = ", ".join(f"{name} {{{'np' if name == 'numpy' else name}.__version__}}" for name in names)
    return f'print(f"{shown}")'


def _verdict(fault: Fault) -> Block:
    figure = fault.figure
    assert figure is not None
    block = Block()
    block.add(_versions(fault))
    block.add("g, e = got[INDEX], expected[INDEX]")
    stored = FORMATS.get(_stored(fault))
    if stored is not None and _overflows(figure.got, figure.expected, stored.max):
        largest = repr(stored.max * (1 + stored.u))
        block.add(f"g, e = (np.clip(each, -{largest}, {largest}) for each in (g, e))  # where {stored.name} overflows")
    digits = 17 if _stored(fault) == "float64" else 9
    allowed = figure.allowed if figure.allowed is not None else 0.0
    block.lines.insert(
        0, f"INDEX, ALLOWED = {figure.index!r}, {allowed!r}  # the error that rounding may explain there"
    )
    block.add(
        f'print(f"{figure.quantity}{{list(INDEX)}} of step {figure.step}: got {{g:.{digits}g}}, '
        f'expected {{e:.{digits}g}}, error {{abs(g - e):.6g}}, allowed {{ALLOWED:.6g}}")',
        "sys.exit(0 if abs(g - e) <= ALLOWED or (np.isnan(g) and np.isnan(e)) else 1)",
    )
    return block


def _verdict_in_norm(fault: Fault) -> Block:
    """What a network as a whole may be off is a matter of each slice: a sample, a row, a whole bias or buffer."""
    figure = fault.figure
    assert figure is not None
    block = Block()
    block.add(
        f"ALLOWED = {figure.allowed!r}  # of the 2-norm of the error: what rounding after every operation comes to",
        _versions(fault),
        f"error = np.linalg.norm(sliced(got)[{figure.index[0]}] - sliced(expected)[{figure.index[0]}])",
        f'print(f"{figure.quantity}{list(figure.index)} of step {figure.step}: beside a signal of "',
        '      f"{np.linalg.norm(expected):.3g}, error {error:.6g}, allowed {ALLOWED:.6g}")',
        "sys.exit(0 if error <= ALLOWED else 1)",
    )
    return block


def _stored(fault: Fault) -> str:
    if fault.quantity in ("output", "grad_input"):
        return fault.case.dtype
    return "int64" if fault.quantity.endswith("num_batches_tracked") else fault.case.param_dtype


def _overflows(got: str, expected: str, largest: float) -> bool:
    numbers = [float(each) for each in (got, expected)]
    return any(abs(each) >= largest for each in numbers)


def _structure(fault: Fault) -> Block:
    """dtype, shape and the like: ``y`` is what the backend gave."""
    figure = fault.figure
    assert figure is not None
    block = Block()
    block.add(_versions(fault))
    kind = (
        figure.got.partition(" ")[0] if figure.quantity not in ("dtype", "shape", "memory_format") else figure.quantity
    )
    wanted = figure.expected.removeprefix(f"{kind} ")
    value = {
        "dtype": 'str(y.dtype).removeprefix("torch.")',
        "shape": '"x".join(map(str, y.shape))' if figure.quantity == "shape" else "str(list(y.shape))",
        "memory_format": '"channels_last" if y.is_contiguous(memory_format=torch.channels_last) else "other"',
        "nothing": '"an array" if y is not None else "nothing"',
    }.get(kind, '"?"')
    block.add(
        f"found, wanted = {value}, {wanted!r}",
        f'print(f"{figure.quantity} of step {figure.step}, {kind}: got {{found}}, expected {{wanted}}")',
        "sys.exit(0 if found == wanted else 1)",
    )
    return block


def _excepting(fault: Fault) -> Block:
    """Whether a call raises."""
    case = fault.case
    block = Block()
    inner = torch_code.layer_block(fault) if fault.backend.name != "onnx-training" else Block()
    if fault.backend.name.startswith("torch"):
        steps = Block(
            lines=[*torch_code.history_lines(fault), *torch_code.current_lines(fault), *torch_code.step_lines(fault)]
        )
    else:
        steps = got_block(fault)
    block.imports |= inner.imports | steps.imports
    block.add(_versions(fault), "try:", *joined([*inner.lines, *steps.lines]))
    block.add("except Exception as error:")
    block.add('    print(f"got {type(error).__name__}: {str(error).splitlines()[0]}")')
    if fault.kind == "accepts":
        assert case.raises is not None
        block.imports.add("import re")
        block.add(
            f"    meant = re.search({case.raises.match!r}, str(error))",
            f"    sys.exit(0 if meant and type(error).__name__ == {case.raises.type!r} else 1)",
            f'print("got no exception, expected {case.raises.type}")',
            "sys.exit(1)",
        )
    else:
        block.add("    sys.exit(1)", 'print("no exception")', "sys.exit(0)")
    return block


def _dying(fault: Fault, given: Block) -> Block:
    """The script runs itself again as a child, whose end it looks at."""
    layer = Block() if fault.backend.name == "onnx-training" else torch_code.layer_block(fault)
    rest = got_block(fault)
    block = Block(imports={"import subprocess"} | given.imports | layer.imports | rest.imports)
    block.add(
        _versions(fault),
        'if sys.argv[1:] != ["child"]:',
        '    code = subprocess.run([sys.executable, __file__, "child"], timeout=300).returncode',
        '    print(f"the child ended with {code}, expected 0")',
        "    sys.exit(0 if code == 0 else 1)",
        "",
        *given.lines,
        *layer.lines,
        *rest.lines,
    )
    return block
