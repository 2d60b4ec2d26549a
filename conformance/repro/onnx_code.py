"""The part of a script that exports the layer, or builds the node, and runs the graph."""

from __future__ import annotations

from conformance.backends.dynamic_axes import dynamic_axes, example_shape
from conformance.backends.seeds import draws, seed_of
from conformance.ops import OPS
from conformance.repro import torch_code
from conformance.repro.block import Block
from conformance.repro.fault import Fault
from conformance.repro.given import state_of, variable

_ELEMENT = {"float64": "DOUBLE", "float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}
_NUMPY = {"float64": "np.float64", "float32": "np.float32", "float16": "np.float16"}


def export_lines(fault: Fault, exporter: str) -> list[str]:
    """``model``, by torch's exporter of this name, ``dynamo`` or ``script``."""
    case = fault.case
    options: list[str] = []
    lines: list[str] = []
    example = "t"
    if case.export.dynamic:
        sizes = ", ".join(map(str, example_shape(case)))
        lines.append(f"example = torch.ones({sizes}, dtype=t.dtype)  # the sizes of the axes named below are left open")
        example = "example"
    if exporter == "dynamo":
        if case.export.dynamic:
            axes = ", ".join(f'{axis}: torch.export.Dim("x_{axis}")' for axis in dynamic_axes(case))
            options.append(f"dynamic_shapes=({{{axes}}},)")
        if case.export.opset is not None:
            options.append(f"opset_version={case.export.opset}")
        given = ", ".join(["layer", f"({example},)", "dynamo=True", "verbose=False", *options])
        return [*lines, f"model = torch.onnx.export({given}).model_proto"]
    training = "TRAINING" if fault.training else "EVAL"
    options.append(f"training=torch.onnx.TrainingMode.{training}")
    if case.export.opset is not None:
        options.append(f"opset_version={case.export.opset}")
    if case.export.dynamic:
        axes = ", ".join(f'{axis}: "x_{axis}"' for axis in dynamic_axes(case))
        options.append(f'input_names=["x"], dynamic_axes={{"x": {{{axes}}}}}')
    given = ", ".join(["layer", f"({example},)", "written", "dynamo=False", *options])
    return [
        *lines,
        "written = io.BytesIO()",
        f"torch.onnx.export({given})",
        "model = onnx.load_model_from_string(written.getvalue())",
    ]


def session_lines(fault: Fault) -> list[str]:
    lines = [
        "options = onnxruntime.SessionOptions()",
        "options.intra_op_num_threads, options.log_severity_level = 1, 4",
    ]
    if fault.case.export.optimisation == "off":
        lines.append("options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL")
    return lines


_SESSION = 'onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])'


def _value_functions() -> list[str]:
    """bfloat16 has no NumPy type: values go in and come out by their bits."""
    return [
        "def value(t):  # a tensor for onnxruntime, bit for bit",
        "    if t.dtype != torch.bfloat16:",
        "        return onnxruntime.OrtValue.ortvalue_from_numpy(t.numpy())",
        "    bits, kind = t.view(torch.int16).numpy().view(np.uint16), onnx.TensorProto.BFLOAT16",
        "    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, kind)",
        "",
        "def tensor(value):",
        '    if value.data_type() != "tensor(bfloat16)":',
        "        return torch.from_numpy(value.numpy().copy())",
        "    raw = ctypes.string_at(value.data_ptr(), 2 * math.prod(value.shape()))",
        "    return torch.frombuffer(bytearray(raw), dtype=torch.bfloat16).reshape(value.shape())",
        "",
    ]


def _half(fault: Fault) -> bool:
    return "bfloat16" in (fault.case.dtype, fault.case.param_dtype)


def exported_block(fault: Fault, exporter: str, runtime: str = "onnxruntime") -> Block:
    """``got``: the output of an exported graph, as an array."""
    block = Block(imports={"import torch", "import onnx"})
    block += torch_code.layout_block(fault)
    if exporter == "script":
        block.imports |= {"import io"}
    elif runtime == "onnxruntime":
        block.imports -= {"import onnx"}
    block.add(*torch_code.history_lines(fault), *torch_code.current_lines(fault))
    block.add(f"t = {torch_code.tensor('x', fault)}", torch_code.mode(fault), *export_lines(fault, exporter))
    if runtime == "reference":
        block.imports |= {"from onnx.reference import ReferenceEvaluator", "import onnx"}
        if fault.case.dtype == "bfloat16":
            block.add(
                "bits = t.view(torch.int16).numpy().tobytes()",
                "proto = onnx.TensorProto(data_type=onnx.TensorProto.BFLOAT16, dims=t.shape, raw_data=bits)",
                "feed = onnx.numpy_helper.to_array(proto)",
            )
            block.imports |= {"import onnx.numpy_helper"}
        else:
            block.add("feed = t.numpy()")
        block.add("y = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: feed})[0]")
        block.add("got = np.asarray(y).astype(float)")
        return block
    block.imports |= {"import onnxruntime"}
    if draws(fault.case):
        block.add(f"onnxruntime.set_seed({seed_of(fault.case, fault.last)})")
    block.add(*session_lines(fault), f"session = {_SESSION}")
    name = "session.get_inputs()[0].name"
    if fault.case.dtype == "bfloat16":
        block.imports |= {"import ctypes", "import math", "import onnx"}
        block.lines[:0] = _value_functions()
        block.add(f"y = tensor(session.run_with_ort_values(None, {{{name}: value(t)}})[0])", "got = y.double().numpy()")
    else:
        block.add(f"y = session.run(None, {{{name}: t.numpy()}})[0]", "got = y.astype(float)")
    return block


def step_block(fault: Fault) -> Block:
    """``got``: a quantity of a whole exported step, forward, gradients and buffers after it."""
    case = fault.case
    block = Block(imports={"import torch", "import onnxruntime"})
    block.imports |= {
        "from torch.func import functional_call, functionalize, vjp",
        "from torch.fx.experimental.proxy_tensor import make_fx",
    }
    if _half(fault):
        block.imports |= {"import ctypes", "import math", "import onnx"}
        block.add(*_value_functions())
    block.add(
        "params, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())",
        "def step(x, gy, *state):  # forward, gradients and the buffers after it, as one function",
        "    given = dict(zip(buffers, state[len(params):]))",
        "    def forward(x, params):",
        "        after = {name: t.clone() for name, t in given.items()}",
        "        return functional_call(layer, params | after, (x,)), after",
        "    y, back, after = vjp(forward, x, dict(zip(params, state)), has_aux=True)",
        "    gx, grads = back(gy)",
        "    return (y, gx, *grads.values(), *after.values())",
        "",
    )
    decompositions = ""
    if OPS[case.op].buffers(case.args) or OPS[case.op].family in ("batch_norm", "instance_norm"):
        block.imports |= {"from torch._decomp import get_decompositions"}
        block.add(
            'apart = ["native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional",',
            '         "_batch_norm_with_update", "_batch_norm_with_update_functional", "cudnn_batch_norm",',
            '         "native_batch_norm_backward"]  # else the exporter writes them for inference',
            "apart = get_decompositions([getattr(torch.ops.aten, n) for n in apart if hasattr(torch.ops.aten, n)])",
        )
        decompositions = ", decomposition_table=apart if layer.training else {}"
    opset = f", opset_version={case.export.opset}" if case.export.opset is not None else ""
    given = "[value(t) for t in inputs]" if _half(fault) else "[t.numpy() for t in inputs]"
    run = (
        "[tensor(v) for v in session.run_with_ort_values(None, dict(zip(names, feed)))]"
        if _half(fault)
        else "[torch.from_numpy(a.copy()) for a in session.run(None, dict(zip(names, feed)))]"
    )
    block.add(
        "def ran(*inputs):",
        "    inputs = [t.detach() for t in inputs]",
        f'    graph = make_fx(functionalize(step, remove="mutations"){decompositions})(*inputs)',
        f"    model = torch.onnx.export(graph, tuple(inputs), dynamo=True, verbose=False{opset}).model_proto",
        *(f"    {line}" for line in session_lines(fault)),
        f"    session = {_SESSION}",
        f"    names, feed = [i.name for i in session.get_inputs()], {given}",
        f"    return {run}",
        "",
    )
    x = torch_code.tensor("x", fault)
    gy = torch_code.tensor("gy" if fault.wants_gradient else "np.ones_like(x)", fault)
    block.add("state = [*params.values(), *buffers.values()]")
    if fault.history:
        one = "x, gy" if fault.wants_gradient else "x"
        block.add(
            "layer.train()",
            f"for {one} in batches[:-1]:  # the buffers that come out of a step go into the next",
            f"    made = ran({x}, {gy}, *state)",
            "    state = [*params.values(), *made[2 + len(params):]]",
        )
    block.add(*torch_code.current_lines(fault))
    block.add(
        torch_code.mode(fault),
        f"made = ran({x}, {gy}, *state)",
        'names = ["output", "grad_input", *(f"grad.{n}" for n in params), *(f"buffer.{n}" for n in buffers)]',
        f'y = made[names.index("{fault.quantity if fault.figure and fault.kind == "value" else _structural(fault)}")]',
        "got = y.double().numpy()",
    )
    return block


def _structural(fault: Fault) -> str:
    return fault.quantity if fault.quantity not in ("dtype", "shape", "input_modified") else "output"


def training_block(fault: Fault) -> Block:
    """``got``: BatchNormalization of ONNX in training mode, one node built by hand."""
    case = fault.case
    tracks = bool(case.args["track_running_stats"])
    training = fault.training or not tracks
    channels = int(case.args["num_features"])
    kind, param = (f"onnx.TensorProto.{_ELEMENT[each]}" for each in (case.dtype, case.param_dtype))
    block = Block(imports={"import onnx", "import onnxruntime", "from onnx import helper"})
    momentum = case.args["momentum"]
    block.add(
        "def ran(training, x, *rest):  # BatchNormalization, version 15 of ONNX's operators",
        '    outputs = ["Y", "mean", "var"][: 3 if training else 1]',
        f"    attributes = dict(epsilon={float(case.args['eps'])!r}, training_mode=int(training))",
        f"    attributes |= dict(momentum={float(momentum) if momentum is not None else 0.0!r}) if training else {{}}",
        '    names = ["X", "scale", "B", "input_mean", "input_var"]',
        '    node = helper.make_node("BatchNormalization", names, outputs, **attributes)',
        "    def info(name):",
        f"        kind, shape = ({kind}, x.shape) if name in 'XY' else ({param}, ({channels},))",
        "        return helper.make_tensor_value_info(name, kind, shape)",
        '    graph = helper.make_graph([node], "main", [info(n) for n in names], [info(n) for n in outputs])',
        '    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)',
        *(f"    {line}" for line in session_lines(fault)),
        f"    session = {_SESSION}",
        "    return session.run(None, dict(zip(names, [x, *rest])))",
        "",
    )
    p = _NUMPY.get(case.param_dtype, "np.float32")
    names = {"weight": f"np.ones({channels})", "bias": f"np.zeros({channels})", "running_mean": f"np.zeros({channels})",
             "running_var": f"np.ones({channels})"}  # fmt: skip
    present = state_of(fault)
    state = ", ".join(f"{p}({variable(name) if name in present else value})" for name, value in names.items())
    block.add(f"state = [{state}]")
    x = f"{_NUMPY.get(case.dtype, 'np.float32')}(x)"
    if fault.history:
        block.add(
            "for x in batches[:-1]:  # the statistics that come out of a step go into the next",
            f"    state[2:] = ran(True, {x}, *state)[1:]",
        )
    block.add(*torch_code.current_lines(fault))
    block.add(f"made = ran({training}, {x}, *state)")
    where = {"output": "made[0]", "buffer.running_mean": "made[1]", "buffer.running_var": "made[2]"}
    if not training:
        where |= {"buffer.running_mean": "state[2]", "buffer.running_var": "state[3]"}
    block.add(f"y = {where.get(fault.quantity, 'made[0]')}", "got = y.astype(float)")
    return block
