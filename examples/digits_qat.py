"""From a PyTorch checkpoint to an 8-bit Flax model in one file: ``python examples/digits_qat.py``."""

import argparse
import tempfile
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import optax
import torch
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import linger_jax
from linger_jax import converters

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--quick", action="store_true", help="one epoch each: shows that everything runs")
quick = arguments.parse_args().quick

data = load_digits()
pixels, digits = data.images[..., None].astype(np.float32) / 16, data.target
x_train, x_test, y_train, y_test = train_test_split(pixels, digits, stratify=digits, random_state=0)
BATCH = 64


# 1. What you have: a network trained in PyTorch, and its checkpoint.
torch.manual_seed(0)
float_torch = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 3, padding=1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
    torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(16, 32, 3, padding=1, bias=False), torch.nn.BatchNorm2d(32), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(32 * 4 * 4, 10),
)  # fmt: skip
adam = torch.optim.Adam(float_torch.parameters(), 3e-3)
for _ in range(1 if quick else 10):
    for batch in torch.randperm(len(x_train)).split(BATCH):
        logits = float_torch(torch.from_numpy(x_train[batch]).permute(0, 3, 1, 2))
        adam.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y_train[batch])).backward()
        adam.step()
checkpoint = Path(tempfile.mkdtemp()) / "float.pt"
torch.save(float_torch.state_dict(), checkpoint)


# 2. The same network in Flax, with nothing in it about quantization.
class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        for features in (16, 32):
            x = nn.Conv(features, (3, 3), padding=1, use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            if features == 16:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(10)(x.reshape(len(x), -1))


def accuracy(model, variables):
    logits = jax.jit(model.apply)(variables, x_test)
    return f"{100 * np.mean(np.argmax(logits, -1) == y_test):.2f} %"


# 3. Import. The order of the flattened features differs between the two; the importer knows.
variables, report = converters.from_torch(checkpoint, Network(), x_train[:1])
print(report)
print("float:             ", accuracy(Network(), variables))

# 4. Quantizers, calibrated on a few batches: post-training quantization.
model = linger_jax.init(Network(), {"platform": "venusA", "quant_info": {"qat_method": "TQT"}})
variables = model.adopt(variables, x_train[:BATCH])
variables = linger_jax.calibrate(model, variables, [x_train[i : i + BATCH] for i in range(0, 512, BATCH)])
print(model.plan(variables, x_train[:BATCH]))
print("calibrated:        ", accuracy(model, variables))


# 5. Quantization-aware training: your own loop. TQT's thresholds are parameters with their own learning rate.
class State(TrainState):
    collections: dict


epochs = 1 if quick else 8
rate = optax.cosine_decay_schedule(1.0, epochs * (len(x_train) // BATCH))
optimiser = optax.chain(
    optax.multi_transform({"weight": optax.adam(1e-3), "threshold": optax.adam(1e-2)}, linger_jax.parameter_labels),
    optax.scale_by_schedule(rate),
)
params = variables.pop("params")
state = State.create(apply_fn=model.apply, params=params, tx=optimiser, collections=variables)


@jax.jit
def step(state, images, labels):
    def loss(params):
        variables = {"params": params, **state.collections}
        logits, updates = state.apply_fn(variables, images, train=True, mutable=["quant", "batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

    gradients, updates = jax.grad(loss, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients, collections=updates)


for epoch in range(epochs):
    order = np.asarray(jax.random.permutation(jax.random.key(epoch), len(x_train)))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        batch = order[start : start + BATCH]
        state = step(state, x_train[batch], y_train[batch])

# 6. Evaluation with the scales that training stored.
print("trained quantized: ", accuracy(model, {"params": state.params, **state.collections}))
