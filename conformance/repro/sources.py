"""Where the formula of a family stands, in one line of a script."""

from __future__ import annotations

SOURCES: dict[str, str] = {
    "batch_norm": "Ioffe and Szegedy 2015, algorithm 1, as torch.nn.BatchNorm documents it",
    "instance_norm": "Ulyanov, Vedaldi and Lempitsky 2016, equation 2, as torch.nn.InstanceNorm documents it",
    "layer_norm": "Ba, Kiros and Hinton 2016, equations 3 and 4, as torch.nn.LayerNorm documents it",
    "rms_norm": "Zhang and Sennrich 2019, equation 4, as torch.nn.RMSNorm documents it",
    "group_norm": "Wu and He 2018, equation 7, as torch.nn.GroupNorm documents it",
    "local_response_norm": "Krizhevsky and others 2012, section 3.3, as torch.nn.LocalResponseNorm documents it",
}
