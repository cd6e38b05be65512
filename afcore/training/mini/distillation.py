"""Step `distil`: mini's audio encoder, from random weights, fitted to the teacher on ever new mixtures, in counted
steps.

Stage A fits each block alone, fed with the teacher's activations, to the teacher's next ones. In its first `settle`
steps the norm layers learn their running statistics, which are frozen from then on: a function that changes with the
batch cannot come near to the teacher's, which does not. Stage L goes on so with the last blocks and the classifier
alone: their errors are ten times those of the others, and being small in time and bands they cost a quarter. Stage B
fits these on what the student's own blocks before them give: embedding, logits and the teacher's probabilities, with
the error at every block kept as small terms. (With all blocks fitted in B the first ones got worse: the noise of what
the last ones lack is far larger than their own errors.) Its learning rate stays at its height for `hold` steps and then
falls to almost 0 over `decay` steps; the state before the fall is kept (`before-decay.pt`), so that a later run can go
on from it. Weights are averaged over steps.

The optimiser is SOAP (Vyas et al., 2024): Adam in the eigenbases of each kernel's second moments. Here the least error
is near 0, so what slows the fit is not noise but that the channels of a block go together; 100 to 200 steps of it
halve block errors that Adam had left after thousands.

    python -m afcore.training encoder --work DIR --teacher DIR
    torchrun --nproc-per-node 2 -m afcore.training.mini.distillation RUN --teacher DIR

The second goes on with two processes of one thread, twice the sound a step. RUN is DIR/encoder-run of the first: it
holds `plan.json`, `items.npz` (see `sounds.save_items`) and `held.npz`; `last.pt` is written every
three minutes, and the same command goes on from it exactly: batches are drawn by step, and everything that steps change
is kept.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from afcore.corpus.teacher import compare, folded_norm, folded_teacher
from afcore.encoders.mini import EPSILON, MiniEncoder, MiniEncoderNet, channels_last
from afcore.training.mini.mixtures import Mixtures

PLAN = {
    "seed": 11,
    "grow": 1.5,
    "hidden": 1024,
    "A": 1500,
    "settle": 200,
    "L": 5200,
    "hold": 0,
    "decay": 6000,
    "validate": 500,
    "rates": {"A": 0.006, "L": 0.008, "B": 0.0005},
}
"""Steps of stage A, of them with running statistics, of L, and in stage B before and while the learning rate falls; the
rates at their height."""
STAGES = "ALB"
LATE = 11  # the first of the last blocks
WARMUP = 60  # steps
FLOOR = 0.003  # of the learning rate at the end
AVERAGE = 0.998  # of the averaged weights stays each step
KEEP = 180.0  # s between checkpoints


class NormAct(nn.Module):
    """Convolution, norm layer, activation; with frozen statistics the norm is folded into the kernel, which is much
    less work."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, groups: int, act: Callable[[], nn.Module]):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(cout, eps=EPSILON, momentum=0.03)
        self.act = act()
        if isinstance(self.act, nn.ReLU):
            self.act.inplace = True

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the convolution that does the same with frozen statistics."""
        return folded_norm(self.conv.weight, self.norm)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm.training:
            return self.act(self.norm(self.conv(x)))
        kernel, bias = self.folded()
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        return self.act(F.conv2d(x, kernel, bias, self.conv.stride, self.conv.padding, 1, self.conv.groups))


def student(grow: float, hidden: int = 512) -> MiniEncoderNet:
    """The network that is fitted: with norm layers."""
    return MiniEncoderNet(grow, hidden, NormAct)


def folded(net: MiniEncoderNet, grow: float) -> MiniEncoderNet:
    """The network that ships: `net` with its norms in the convolutions."""
    out = MiniEncoderNet(grow, len(net.state_dict()["tags.0.weight"]))
    state = {k: v for k, v in net.state_dict().items() if ".conv." not in k and ".norm." not in k}
    for name, module in net.named_modules():
        if isinstance(module, NormAct):
            state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = (
                part.detach().clone() for part in module.folded()
            )
    out.load_state_dict(state)
    return out.eval()


@torch.no_grad()
def unfold(shipped: MiniEncoderNet, net: MiniEncoderNet) -> None:
    """Gives `net`, with norm layers, the weights of one without: `folded` the other way round. Kernels come to the
    spread that random ones begin with, the norms' weights make up for it. A classifier of another width is left
    out."""
    convolutions = {name: m for name, m in shipped.named_modules() if isinstance(m, nn.Conv2d)}
    for name, module in net.named_modules():
        if isinstance(module, NormAct):
            shipped_conv, norm = convolutions[f"{name}.conv"], module.norm
            assert norm.running_mean is not None and norm.running_var is not None, "it keeps statistics"
            size = shipped_conv.weight.square().mean((1, 2, 3)).sqrt() * shipped_conv.weight[0].numel() ** 0.5
            size = size.clamp(min=1e-3)
            module.conv.weight.copy_(shipped_conv.weight / size[:, None, None, None])
            norm.weight.copy_(size)
            norm.bias.copy_(shipped_conv.get_parameter("bias"))
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
    mine = net.state_dict()
    others = {k: v for k, v in shipped.state_dict().items() if ".conv." not in k and v.shape == mine[k].shape}
    net.load_state_dict(others, strict=False)


def activations(net: MiniEncoderNet, mel: Tensor) -> list[Tensor]:
    """The input and what each block makes of it."""
    out = [mel]
    for layer in net.features:
        out.append(layer(out[-1]))
    return out


def spread(x: Tensor) -> Tensor:
    """Variance of each channel and a tenth of their mean, so that nearly constant channels do not rule."""
    variance = x.var((0, 2, 3))
    return (variance + 0.1 * variance.mean() + 1e-6)[None, :, None, None]


class Scale(TypedDict):
    """What errors are divided by: of each block's output (1, channels, 1, 1), of the logits, a scalar, and of the
    embedding (384,)."""

    blocks: list[Tensor]
    logits: Tensor
    embedding: Tensor


def total(parts: list[Tensor]) -> Tensor:
    """Their sum, a scalar."""
    return sum(parts, parts[0].new_zeros(()))


BETWEEN = 5  # points between clips for each of a batch


def around(embedding: Tensor) -> Tensor:
    """Embeddings of clips (n, 384), and points between each and others: ((1 + BETWEEN) n, 384). A batch has few clips,
    and the classifier is the last to come near the teacher's."""
    n = len(embedding)
    others = torch.cat([embedding[torch.randperm(n)] for _ in range(BETWEEN)])
    share = 0.5 * torch.rand(len(others), 1)
    return torch.cat([embedding, torch.lerp(embedding.repeat(BETWEEN, 1), others, share)])


def loss_of_classifier(net: MiniEncoderNet, teacher: MiniEncoderNet, last: Tensor, scale: Scale) -> Tensor:
    """Its error on the teacher's own embeddings; `last` (n, 384, bands, frames) is what they are means of."""
    embeddings = around(last.mean((2, 3)))
    with torch.no_grad():
        wanted = teacher.tags(embeddings)
    return (net.tags(embeddings) - wanted).square().mean() / scale["logits"]


def losses_of_blocks(
    net: MiniEncoderNet, teacher: MiniEncoderNet, target: list[Tensor], scale: Scale, first: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """Stages A and L: each block from the `first` on on the teacher's own input, and the classifier."""
    rows = zip(net.features, target[:-1], target[1:], scale["blocks"], strict=True)
    parts = [((layer(h) - t).square() / s).mean() for layer, h, t, s in list(rows)[first:]]
    parts.append(loss_of_classifier(net, teacher, target[-1], scale))
    return total(parts), parts


def losses_of_whole(
    net: MiniEncoderNet, teacher: MiniEncoderNet, target: list[Tensor], scale: Scale
) -> tuple[Tensor, list[Tensor]]:
    """Stage B: the whole network, of which the blocks before `LATE` stay as they are; block errors as small terms."""
    embedding = target[-1].mean((2, 3))
    with torch.no_grad():
        logits = teacher.tags(embedding)
        got = [net.features[:LATE](target[0])]
    for layer in list(net.features)[LATE:]:
        got.append(layer(got[-1]))
    rows = zip(got[1:], target[LATE + 1 :], scale["blocks"][LATE:], strict=True)
    parts = [((h - t).square() / s).mean() for h, t, s in rows]
    parts.append(loss_of_classifier(net, teacher, target[-1], scale))
    heard = got[-1].mean((2, 3))
    said, wanted = net.tags(heard), logits.sigmoid()
    entropy, taught = (
        F.binary_cross_entropy_with_logits(z, wanted, reduction="sum") / len(wanted) for z in (said, logits)
    )
    parts += [
        ((heard - embedding).square() / scale["embedding"]).mean(),
        (said - logits).square().mean() / scale["logits"],
        entropy - taught,
    ]
    return 0.3 * total(parts[:-3]) + 2 * parts[-3] + 6 * parts[-2] + parts[-1], parts


class Run:
    """One run: its plan, its state, its steps."""

    scale: Scale
    optimiser: torch.optim.Optimizer

    def __init__(self, folder: Path, teacher: Path, shipped: Path | None = None):
        """`shipped`: a folder with an exported encoder, from which a run without a state begins; its norms have
        settled.
        """
        self.folder, self.plan = folder, json.loads((folder / "plan.json").read_text())
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        torch.manual_seed(self.plan["seed"])
        self.mel, self.teacher = folded_teacher(teacher)
        self.net = channels_last(student(self.plan["grow"], self.plan["hidden"]))
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.stage, self.step = "A", 0
        self.stopping = False
        self.shipped = shipped
        if (folder / "last.pt").exists():
            self.resume(torch.load(folder / "last.pt", weights_only=True))
        else:
            self.begin()

    # state
    def fitted(self) -> list[nn.Parameter]:
        """What this stage changes."""
        parts = self.net.features if self.stage == "A" else self.net.features[LATE:]
        return [*parts.parameters(), *self.net.tags.parameters()]

    def optimiser_for(self) -> torch.optim.Optimizer:
        try:
            from pytorch_optimizer import SOAP
        except ModuleNotFoundError as error:
            raise SystemExit("The encoder's fit needs pytorch-optimizer: `make unit` brings it.") from error
        return SOAP(self.fitted(), lr=1.0, betas=(0.95, 0.99), shampoo_beta=0.95, weight_decay=0.0)

    @torch.no_grad()
    def begin(self) -> None:
        """Fixes the scales of the losses on a few batches; the first norm starts at the mean and spread of the
        teacher's."""
        mixtures = Mixtures(self.folder / "items.npz", self.plan["seed"])
        found: list[Scale] = []
        for k in range(8):
            target = activations(self.teacher, mixtures.batch(2, k))
            embedding = target[-1].mean((2, 3))
            found.append(
                {
                    "blocks": [spread(t) for t in target[1:]],
                    "logits": self.teacher.tags(embedding).var(),
                    "embedding": embedding.var(0) + 0.1 * embedding.var(0).mean(),
                }
            )
            if k == 0:
                before: Tensor = self.teacher.features.get_submodule("0.conv")(target[0])
                norm = self.net.features.get_submodule("0.norm")
                norm.get_parameter("weight").copy_(before.std((0, 2, 3)))
                norm.get_parameter("bias").copy_(before.mean((0, 2, 3)))

        def mean(values: list[Tensor]) -> Tensor:
            return torch.stack(values).mean(0)

        self.scale = {
            "blocks": [mean([f["blocks"][i] for f in found]) for i in range(len(found[0]["blocks"]))],
            "logits": mean([f["logits"] for f in found]),
            "embedding": mean([f["embedding"] for f in found]),
        }
        if self.shipped is not None:
            unfold(MiniEncoder.load(self.shipped).net, self.net)
            self.step = self.plan["settle"]
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = self.optimiser_for()

    def resume(self, state: dict) -> None:
        self.stage, self.step, self.scale = state["stage"], state["step"], state["scale"]
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser = self.optimiser_for()
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])

    def save(self, name: str = "last.pt") -> None:
        """Whole or not at all."""
        if self.rank:
            return
        state = {
            "stage": self.stage,
            "step": self.step,
            "scale": self.scale,
            "net": self.net.state_dict(),
            "plan": self.plan,
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
        }
        torch.save(state, self.folder / f"{name}.partial")
        os.replace(self.folder / f"{name}.partial", self.folder / name)

    def log(self, **values: object) -> None:
        if self.rank == 0:
            line = json.dumps({"time": time.strftime("%H:%M:%S"), "stage": self.stage, "step": self.step, **values})
            print(line, flush=True)
            with open(self.folder / "log.jsonl", "a") as file:
                file.write(line + "\n")

    # schedule
    def steps(self) -> int:
        """Of this stage."""
        return self.plan["hold"] + self.plan["decay"] if self.stage == "B" else self.plan[self.stage]

    def rate(self) -> float:
        """Learning rate of this step."""
        peak = self.plan["rates"][self.stage] * min(1, (self.step + 1) / WARMUP)
        if self.stage == "B":
            done = max(0.0, (self.step - self.plan["hold"]) / max(1, self.plan["decay"]))
        else:
            done = self.step / self.plan[self.stage]
        return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    # steps
    def settling(self) -> bool:
        """Whether the norm layers still learn their statistics."""
        return self.stage == "A" and self.step < self.plan["settle"]

    def fit(self, mel: Tensor) -> list[float]:
        self.net.train(self.settling())
        with torch.no_grad():
            target = activations(self.teacher, mel)
        if self.stage == "B":
            loss, parts = losses_of_whole(self.net, self.teacher, target, self.scale)
        else:
            first = 0 if self.stage == "A" else LATE
            loss, parts = losses_of_blocks(self.net, self.teacher, target, self.scale, first)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad()
        loss.backward()
        if self.world > 1:
            for p in self.fitted():
                assert p.grad is not None, "every parameter takes part"
                dist.all_reduce(p.grad)
                p.grad.div_(self.world)
        nn.utils.clip_grad_norm_(self.fitted(), 3.0 if self.stage == "B" else 8.0)
        self.optimiser.step()
        if self.world > 1 and self.settling():
            for key, value in self.net.named_buffers():
                if "running" in key:
                    dist.all_reduce(value)
                    value /= self.world
        self.step += 1
        decay = min(AVERAGE, self.step / (self.step + 20))
        with torch.no_grad():
            mine = [v for v in self.average.state_dict().values() if v.is_floating_point()]
            torch._foreach_lerp_(mine, [v for v in self.net.state_dict().values() if v.is_floating_point()], 1 - decay)
        return [float(p.detach()) for p in parts]

    def validate(self) -> dict[str, float]:
        """The averaged weights on held-out clips, each alone."""
        held = dict(np.load(self.folder / "held.npz"))
        net, got = channels_last(folded(self.average, self.plan["grow"])), []
        with torch.inference_mode():
            for start, length in zip(held["start"], held["length"], strict=True):
                x = torch.from_numpy(held["audio"][start : start + length].astype(np.float32) / 32767)
                got.append(net(self.mel(x[None]).contiguous(memory_format=torch.channels_last))[0].numpy())
        return {k: round(float(v.mean()), 4) for k, v in compare(np.stack(got), held["teacher"]).items()}

    def batches(self, mixtures: Mixtures, stage: int) -> queue.Queue[Tensor | BaseException]:
        ready: queue.Queue[Tensor | BaseException] = queue.Queue(4)
        first, last = self.step, self.steps()

        def work() -> None:
            try:
                for step in range(first, last):
                    ready.put(mixtures.batch(stage, step, self.rank))
            except BaseException as error:  # the run ends with it, instead of waiting for a batch that never comes
                ready.put(error)

        threading.Thread(target=work, daemon=True).start()
        return ready

    def go(self) -> None:
        while True:
            self.run_stage()
            if self.stopping or self.stage == "B":
                return
            # each starts from the averaged weights of the one before
            self.net.load_state_dict(self.average.state_dict())
            self.save(f"after-{self.stage}.pt")
            self.stage, self.step = STAGES[STAGES.index(self.stage) + 1], 0
            self.optimiser = self.optimiser_for()
            self.save()

    def run_stage(self) -> None:
        stage = self.stage
        self.log(event="start", plan=self.plan, world=self.world)
        ready = self.batches(Mixtures(self.folder / "items.npz", self.plan["seed"]), STAGES.index(stage))
        kept, since, count, waited = time.time(), time.time(), 0, 0.0
        sums: np.ndarray | None = None
        while self.step < self.steps() and not self.stopping:
            if stage == "B" and self.step == self.plan["hold"]:
                self.save("before-decay.pt")
            asked = time.time()
            mel = ready.get()
            waited += time.time() - asked
            if isinstance(mel, BaseException):
                raise mel
            parts = np.array(self.fit(mel))
            sums, count = parts if sums is None else sums + parts, count + 1
            if self.step % 20 == 0:
                self.log(
                    rate=round(self.rate(), 7),
                    seconds=round(time.time() - since, 1),
                    waited=round(waited, 1),
                    losses=[round(float(v), 4) for v in sums / count],
                )
                since, sums, count, waited = time.time(), None, 0, 0.0
            if self.step % self.plan["validate"] == 0 and self.rank == 0:
                self.log(validation=self.validate())
                since = time.time()
            if time.time() - kept > KEEP:
                self.save()
                kept = time.time()
        self.save()
        if self.rank == 0 and not self.stopping:
            self.log(event="end", validation=self.validate())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--go-on", type=Path, help="folder with the encoder that a run without a state begins with")
    arguments = parser.parse_args()
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        dist.init_process_group("gloo")
    torch.set_num_threads(1)
    run = Run(arguments.run, arguments.teacher, arguments.go_on)
    signal.signal(signal.SIGTERM, lambda *_: setattr(run, "stopping", True))
    run.go()


if __name__ == "__main__":
    main()
