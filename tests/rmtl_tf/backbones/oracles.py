"""The papers' equations in numpy: the logits [N, K] of every backbone, from the weights of a built one.

`o` is an `Oracle` (conftest.py), `x` the inputs; the sizes are those of the fixture `small`. A backbone of
the registry needs a line in `ORACLES`.
"""

from __future__ import annotations

import numpy as np

BOTTOM, TOWER, WIDTH = (6, 5), 1, 4  # widths of bottoms and experts, hidden layers of a tower, D
FIELDS = 3


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def logit(p):
    return np.log(p) - np.log1p(-p)


def chain(count):
    """Parents of tasks in a row."""
    return [None, *range(count - 1)]


def columns(parts):
    return np.stack(parts, axis=1)


def mixed(gate, outputs):
    """The experts' outputs, a list of [N, W], weighed by the gate [N, E]."""
    assert gate.shape[1] == len(outputs)
    return sum(gate[:, i, None] * out for i, out in enumerate(outputs))


def crossed(o, x):
    return o.cross("cross", o.state(x))


def shared_bottom(o, x, count, layers=2):
    """Caruana: z_k = h^k(f(x))."""
    shared = o.mlp("bottom", layers, crossed(o, x))
    return columns([o.tower(k, TOWER, shared) for k in range(count)])


def single_task(o, x, count):
    """Networks on tables of their own: task k has its columns of every field."""
    fields = o.state(x).reshape(-1, FIELDS, count, WIDTH)
    own = [o.cross(f"cross_{k}", fields[:, :, k].reshape(-1, FIELDS * WIDTH)) for k in range(count)]
    return columns([o.tower(k, TOWER, o.mlp(f"bottom_{k}", 2, own[k])) for k in range(count)])


def esmm(o, x, count, parents=None):
    """Ma et al., equation 1: the probability of a task is the product along its chain of parents."""
    state, product = crossed(o, x), []
    for k, parent in enumerate(parents or chain(count)):
        own = sigmoid(o.tower(k, TOWER, o.mlp(f"bottom_{k}", 2, state)))
        product.append(own if parent is None else product[parent] * own)
    return columns([logit(p) for p in product])


def mmoe(o, x, count, experts=8):
    """Ma et al., equations 6 to 8."""
    state = crossed(o, x)
    outputs = o.experts("experts", experts, BOTTOM, state)
    return columns([o.tower(k, TOWER, mixed(o.gate(f"gate_{k}", state), outputs)) for k in range(count)])


def omoe(o, x, count, experts=8):
    """As MMoE, with one gate."""
    state = crossed(o, x)
    mixture = mixed(o.gate("gate", state), o.experts("experts", experts, BOTTOM, state))
    return columns([o.tower(k, TOWER, mixture) for k in range(count)])


def extraction(o, path, states, own, shared, shared_gate):
    """Tang et al., equation 6: w^{k,j}(g^{k,j-1}) S^{k,j} of every task; the shared gate sees all experts."""
    tasks = range(len(states) - 1)
    groups = [o.experts(f"{path}/task_{k}", own, BOTTOM, states[k]) for k in tasks]
    common = o.experts(f"{path}/shared", shared, BOTTOM, states[-1])
    result = [mixed(o.gate(f"{path}/gate_task_{k}", states[k]), groups[k] + common) for k in tasks]
    if shared_gate:
        every = [out for group in groups for out in group] + common
        result.append(mixed(o.gate(f"{path}/gate_shared", states[-1]), every))
    return result


def ple(o, x, count, own=4, shared=4, levels=2):
    """Tang et al., equations 6 and 7."""
    states = [crossed(o, x)] * (count + 1)
    for level in range(levels):
        states = extraction(o, f"level_{level}", states, own, shared, level < levels - 1)
    return columns([o.tower(k, TOWER, states[k]) for k in range(count)])


def cgc(o, x, count, own=4, shared=4):
    """Tang et al., equations 2 to 5."""
    states = extraction(o, "extraction", [crossed(o, x)] * (count + 1), own, shared, False)
    return columns([o.tower(k, TOWER, states[k]) for k in range(count)])


def cross_stitch(o, x, count, depth=3):
    """Misra et al., equation 1 after every hidden layer, channel by channel."""
    states = [crossed(o, x)] * count
    for i in range(depth):
        maps = [o.mlp(f"layer_{i}_{k}", 1, states[k]) for k in range(count)]
        alpha, states = o.weights[f"stitch_{i}/alpha"], []
        for a in range(count):
            stitched = np.zeros_like(maps[0])
            for channel in range(maps[0].shape[1]):
                for b in range(count):
                    stitched[:, channel] += alpha[a, b, channel] * maps[b][:, channel]
            states.append(stitched)
    return columns([o.tower(k, 0, states[k]) for k in range(count)])


def dbmtl(o, x, count, parents=None, relation=1):
    """Shared layer, specific layers, and a Bayesian layer for each link, by the tree of tasks."""
    shared, hidden = o.mlp("bottom", 2, crossed(o, x)), []
    for k, parent in enumerate(parents or chain(count)):
        own = o.mlp(f"specific_{k}", 1, shared)
        if parent is not None:
            joined = np.concatenate([own, hidden[parent]], axis=1)
            own = o.mlp(f"relation_{k}", relation, joined)
        hidden.append(own)
    return columns([o.tower(k, 0, r) for k, r in enumerate(hidden)])


def ait(kernels, passed, own):
    """z = sum_u w_u h1(u), w_u = softmax(<h2(u), h3(u)> / sqrt(W)), record by record."""
    h1, h2, h3 = kernels
    result = np.zeros_like(own)
    for n in range(len(own)):
        pair = (passed[n], own[n])
        scores = np.array([(u @ h2) @ (u @ h3) for u in pair]) / np.sqrt(own.shape[1])
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        result[n] = sum(w * (u @ h1) for w, u in zip(weights, pair, strict=True))
    return result


def aitm(o, x, count, parents=None):
    """Xi et al.: z_k = AIT(g_k(z_parent), q_k)."""
    state, states = crossed(o, x), []
    for k, parent in enumerate(parents or chain(count)):
        own = o.mlp(f"bottom_{k}", 2, state)
        if parent is not None:
            kernels = [o.weights[f"attention/{name}/kernel"] for name in ("value", "query", "key")]
            own = ait(kernels, o.mlp(f"transfer_{k}", 1, states[parent]), own)
        states.append(own)
    return columns([o.tower(k, TOWER, z) for k, z in enumerate(states)])


def gate_nu(o, path, x):
    return 2 * sigmoid(o.dense(f"{path}/score", np.maximum(o.dense(f"{path}/hidden", x), 0)))


def pepnet(o, x, count, layers=3):
    """Chang et al. User and item are the prior, fields 0 and 1; the numeric field 2 is the domain."""
    state = crossed(o, x)
    prior, domain = state[:, : 2 * WIDTH], state[:, 2 * WIDTH :]
    scaled = gate_nu(o, "epnet", np.concatenate([domain, state], axis=1)) * state
    read = np.concatenate([prior, scaled], axis=1)
    logits = []
    for k in range(count):
        hidden = scaled
        for i in range(layers):
            hidden = np.maximum(o.dense(f"tower_{k}/dense_{i}", hidden), 0)
            hidden = gate_nu(o, f"tower_{k}/gate_{i}", read) * hidden
        logits.append(o.dense(f"tower_{k}/output", hidden)[:, 0])
    return columns(logits)


def stem(o, x, count, own=4, shared=4):
    """Su et al.: task k's gate reads the sum of its own and the shared state and mixes all experts."""
    common = crossed(o, x)
    states = [o.cross(f"cross_{k}", o.state(x, f"embedding_{k}")) for k in range(count)]
    experts = [out for k in range(count) for out in o.experts(f"experts_{k}", own, BOTTOM, states[k])]
    experts += o.experts("experts_shared", shared, BOTTOM, common)
    gates = [o.gate(f"gate_{k}", states[k] + common) for k in range(count)]
    return columns([o.tower(k, TOWER, mixed(gates[k], experts)) for k in range(count)])


def metaheac(o, x, count, experts=8, critics=5):
    """Zhu et al.: p_k = sum_m h_m(c_k) sigmoid(v_m(sum_i g_i(c_k) f_i(x)))."""
    state = crossed(o, x)
    record = state.reshape(-1, FIELDS, WIDTH).mean(axis=1)
    outputs, probabilities = o.experts("experts", experts, BOTTOM, state), []
    for k in range(count):
        task = np.broadcast_to(o.weights["task_embedding/embeddings"][k], record.shape)
        condition = np.concatenate([record, task], axis=1)
        g, h = (
            o.gate(f"gate_{name}", o.mlp(f"gate_hidden_{name}", 1, condition))
            for name in ("experts", "critics")
        )
        z = mixed(g, outputs)
        heads = [o.dense(f"critics/output_{m}", o.mlp(f"critics/hidden_{m}", 1, z)) for m in range(critics)]
        probabilities.append(mixed(h, [sigmoid(head) for head in heads])[:, 0])
    return columns([logit(p) for p in probabilities])


ORACLES = {
    "shared_bottom": shared_bottom,
    "single_task": single_task,
    "esmm": esmm,
    "mmoe": mmoe,
    "omoe": omoe,
    "ple": ple,
    "cgc": cgc,
    "cross_stitch": cross_stitch,
    "dbmtl": dbmtl,
    "aitm": aitm,
    "pepnet": pepnet,
    "stem": stem,
    "metaheac": metaheac,
    "escm2_ips": esmm,
    "escm2_dr": esmm,
}
