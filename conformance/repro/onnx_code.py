"""The part of a script that exports the layer, or builds the node, and runs the graph."""

from __future__ import annotations

from conformance.backends.dynamic_axes import dynamic_axes, example_shape
from conformance.backends.seeds import draws, seed_of, seed_of_nodes
from conformance.repro import torch_code
from conformance.repro.block import Block
from conformance.repro.fault import Fault
from conformance.repro.given import state_of, variable
from conformance.repro.runtime_code import SESSION, session_lines, value_functions

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
        if draws(fault.case):
            block.add(
                'kinds = {"Dropout": int, "RandomUniformLike": float}  # without a seed they draw anew on every run',
                "for place, node in enumerate([n for n in model.graph.node if n.op_type in kinds]):",
                f"    seed = kinds[node.op_type]({seed_of_nodes(fault.case, fault.last)} + place)",
                '    node.attribute.append(onnx.helper.make_attribute("seed", seed))',
            )
        block.add("y = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: feed})[0]")
        block.add("got = np.asarray(y).astype(float)")
        return block
    block.imports |= {"import onnxruntime"}
    if draws(fault.case):
        block.add(f"onnxruntime.set_seed({seed_of(fault.case, fault.last)})")
    block.add(*session_lines(fault), f"session = {SESSION}")
    name = "session.get_inputs()[0].name"
    if fault.case.dtype == "bfloat16":
        block.imports |= {"import ctypes", "import math", "import onnx"}
        block.lines[:0] = value_functions()
        block.add(f"y = tensor(session.run_with_ort_values(None, {{{name}: value(t)}})[0])", "got = y.double().numpy()")
    else:
        block.add(f"y = session.run(None, {{{name}: t.numpy()}})[0]", "got = y.astype(float)")
    return block


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
        f"    session = {SESSION}",
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
