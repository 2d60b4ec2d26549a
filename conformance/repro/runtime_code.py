"""What scripts for onnxruntime share: the session, and bfloat16 values by their bits."""

from __future__ import annotations

from conformance.repro.fault import Fault


def session_lines(fault: Fault) -> list[str]:
    lines = [
        "options = onnxruntime.SessionOptions()",
        "options.intra_op_num_threads, options.log_severity_level = 1, 4",
    ]
    if fault.case.export.optimisation == "off":
        lines.append("options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL")
    return lines


SESSION = 'onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])'


def value_functions() -> list[str]:
    """bfloat16 has no NumPy type: values go in and come out by their bits."""
    return [
        "def value(t):  # a tensor for onnxruntime, bit for bit",
        "    if t.dtype != torch.bfloat16: return onnxruntime.OrtValue.ortvalue_from_numpy(t.numpy())",
        "    bits, kind = t.view(torch.int16).numpy().view(np.uint16), onnx.TensorProto.BFLOAT16",
        "    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, kind)",
        "def tensor(value):",
        '    if value.data_type() != "tensor(bfloat16)": return torch.from_numpy(value.numpy().copy())',
        "    raw = ctypes.string_at(value.data_ptr(), 2 * math.prod(value.shape()))",
        "    return torch.frombuffer(bytearray(raw), dtype=torch.bfloat16).reshape(value.shape())",
    ]


def mixes_bfloat16(fault: Fault) -> bool:
    return "bfloat16" in (fault.case.dtype, fault.case.param_dtype)
