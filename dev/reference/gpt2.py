"""GPT-2 in plain PyTorch, and llm.c's files: what the other scripts in this folder share.

The parameters are the 16 tensors of llm.c's checkpoint, each holding all layers, in the checkpoint's order. Gradients
then come out of autograd in the very layout that the Swift side uses, and nothing has to be renamed or restacked.

Follows Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), in the form OpenAI published:
LayerNorm before each sublayer (eps 1e-5), GELU in its tanh form, classifier tied to the token embedding.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

CHECKPOINT_MAGIC, CHECKPOINT_VERSION = 20240326, 3
DEBUG_STATE_MAGIC, DEBUG_STATE_VERSION = 20240327, 2
SHARD_MAGIC, SHARD_VERSION = 20240520, 1
HEADER_INTS = 256


@dataclass
class Config:
    maxT: int
    V: int
    L: int
    NH: int
    C: int

    @property
    def Vp(self):
        """The vocabulary rounded up to a multiple of 128; the rows above V are zero in every file."""
        return (self.V + 127) // 128 * 128

    def shapes(self):
        """Name and shape of the 16 tensors, in the checkpoint's order. wte has V rows here and Vp in the file."""
        L, C = self.L, self.C
        return {
            "wte": (self.V, C), "wpe": (self.maxT, C),
            "ln1w": (L, C), "ln1b": (L, C),
            "qkvw": (L, 3 * C, C), "qkvb": (L, 3 * C),
            "attprojw": (L, C, C), "attprojb": (L, C),
            "ln2w": (L, C), "ln2b": (L, C),
            "fcw": (L, 4 * C, C), "fcb": (L, 4 * C),
            "fcprojw": (L, C, 4 * C), "fcprojb": (L, C),
            "lnfw": (C,), "lnfb": (C,),
        }


# llm.c decays the matrices and the two embeddings, not the biases and LayerNorms.
DECAYED = {"wte", "wpe", "qkvw", "attprojw", "fcw", "fcprojw"}


def logits(parameters, config, x):
    """The logits (B,T,V) of the tokens x (B,T)."""
    p = parameters
    B, T = x.shape
    C, NH = config.C, config.NH
    HS = C // NH
    later = torch.ones(T, T, dtype=torch.bool).triu(1)  # position t must not see t2 > t

    residual = p["wte"][x] + p["wpe"][:T]  # (B,T,C)
    for l in range(config.L):
        normed = F.layer_norm(residual, (C,), p["ln1w"][l], p["ln1b"][l], eps=1e-5)
        qkv = normed @ p["qkvw"][l].T + p["qkvb"][l]  # (B,T,3C)
        q, k, v = (part.view(B, T, NH, HS).transpose(1, 2) for part in qkv.split(C, dim=2))  # (B,NH,T,HS)
        scores = q @ k.transpose(2, 3) / math.sqrt(HS)  # (B,NH,T,T)
        attention = scores.masked_fill(later, -math.inf).softmax(dim=3)
        mixed = (attention @ v).transpose(1, 2).reshape(B, T, C)
        residual = residual + mixed @ p["attprojw"][l].T + p["attprojb"][l]

        normed = F.layer_norm(residual, (C,), p["ln2w"][l], p["ln2b"][l], eps=1e-5)
        hidden = F.gelu(normed @ p["fcw"][l].T + p["fcb"][l], approximate="tanh")  # (B,T,4C)
        residual = residual + hidden @ p["fcprojw"][l].T + p["fcprojb"][l]

    return F.layer_norm(residual, (C,), p["lnfw"], p["lnfb"], eps=1e-5) @ p["wte"].T


def mean_loss(parameters, config, x, y):
    """The logits (B,T,V) and the mean cross-entropy of the targets y (B,T)."""
    out = logits(parameters, config, x)
    return out, F.cross_entropy(out.view(-1, config.V), y.reshape(-1))


# Files: little-endian, a header of 256 int32, then the tensors.


def header(*values):
    return struct.pack(f"<{len(values)}i", *values).ljust(4 * HEADER_INTS, b"\0")


def tensors_as_bytes(tensors, config):
    """The 16 tensors as float32, wte padded from V to Vp rows with zeros."""
    parts = []
    for name, shape in config.shapes().items():
        values = tensors[name].detach().to(torch.float32).numpy()
        assert values.shape == shape, name
        if name == "wte":
            values = np.pad(values, ((0, config.Vp - config.V), (0, 0)))
        parts.append(values.astype("<f4").tobytes())
    return b"".join(parts)


def write_checkpoint(path, parameters, config):
    with open(path, "wb") as file:
        file.write(header(CHECKPOINT_MAGIC, CHECKPOINT_VERSION, config.maxT, config.V, config.L, config.NH, config.C,
                          config.Vp))
        file.write(tensors_as_bytes(parameters, config))


def read_checkpoint(path):
    """The configuration and the parameters (float32) of a version 3 checkpoint."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 4 * HEADER_INTS:
        raise SystemExit(f"error: {path} is too short for a checkpoint")
    magic, version, maxT, V, L, NH, C, Vp = struct.unpack_from("<8i", data)
    if (magic, version) != (CHECKPOINT_MAGIC, CHECKPOINT_VERSION):
        raise SystemExit(f"error: {path} is not a float32 checkpoint of llm.c (magic {magic}, version {version})")
    config = Config(maxT, V, L, NH, C)
    values = np.frombuffer(data, "<f4", offset=4 * HEADER_INTS)
    count = sum(math.prod(shape) for shape in config.shapes().values()) + (Vp - V) * C
    if Vp < V or values.size != count:
        raise SystemExit(f"error: {path} holds {values.size} values, its header promises {count}")
    parameters, position = {}, 0
    for name, shape in config.shapes().items():
        rows = Vp * C if name == "wte" else math.prod(shape)
        tensor = values[position:position + rows][:math.prod(shape)].reshape(shape)
        parameters[name] = torch.from_numpy(tensor.copy())
        position += rows
    return config, parameters


def read_shard(path):
    """The tokens of a shard, as int64."""
    with open(path, "rb") as file:
        data = file.read()
    magic, version, count = struct.unpack_from("<3i", data)
    if (magic, version) != (SHARD_MAGIC, SHARD_VERSION) or len(data) != 4 * HEADER_INTS + 2 * count:
        raise SystemExit(f"error: {path} is not a token shard of llm.c, or was cut off")
    return np.frombuffer(data, "<u2", offset=4 * HEADER_INTS).astype(np.int64)
