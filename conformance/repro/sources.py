"""Where the formula of a family stands, in one line of a script."""

from __future__ import annotations

SOURCES: dict[str, str] = {
    "batch_norm": "Ioffe and Szegedy 2015, algorithm 1, as torch.nn.BatchNorm documents it",
    "instance_norm": "Ulyanov, Vedaldi and Lempitsky 2016, equation 2, as torch.nn.InstanceNorm documents it",
    "layer_norm": "Ba, Kiros and Hinton 2016, equations 3 and 4, as torch.nn.LayerNorm documents it",
    "rms_norm": "Zhang and Sennrich 2019, equation 4, as torch.nn.RMSNorm documents it",
    "group_norm": "Wu and He 2018, equation 7, as torch.nn.GroupNorm documents it",
    "local_response_norm": "Krizhevsky and others 2012, section 3.3, as torch.nn.LocalResponseNorm documents it",
    "dropout": "Srivastava and others 2014, section 4, as torch.nn.Dropout documents it",
    "linear": "y = W x + b, as torch.nn.Linear documents it",
    "convolution": "the cross-correlation that torch.nn.Conv2d documents, and its gradients",
    "max_pool": "the maximum of each window, as torch.nn.MaxPool2d documents it; the first of equals gets the gradient",
    "avg_pool": "the mean of each window, as torch.nn.AvgPool2d documents it",
    "sigmoid": "y = 1 / (1 + exp(-x)), gradient gy y (1 - y), as torch.nn.Sigmoid documents it",
    "tanh": "y = tanh x, gradient gy (1 - y^2), as torch.nn.Tanh documents it",
    "flatten": "the same values in another shape, as torch.nn.Flatten documents it",
    "relu": "y = max(0, x), as torch.nn.ReLU documents it",
}
