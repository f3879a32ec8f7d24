"""Makes schedule_goldens.h: learning rates of torch.optim.lr_scheduler.

    python tests/engine/make_schedule_goldens.py > tests/engine/schedule_goldens.h
"""
import torch
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau

# Falls, stays, falls by less than the threshold, rises, falls at last.
LOSSES = [1, 0.5, 0.49999, 0.6, 0.5, 0.4, 0.45, 0.45, 0.45, 0.45, 0.45, 0.39, 0.8, 0.8, 0.8, 0.8]


def optimizer(lr):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def rates(make, steps):
    o = optimizer(0.4)
    schedule, out = make(o), []
    for _ in range(steps):
        out.append(o.param_groups[0]["lr"])
        o.step()
        schedule.step()
    return out


def plateau(lr, **options):
    """The rate after each of LOSSES."""
    o = optimizer(lr)
    schedule, out = ReduceLROnPlateau(o, **options), []
    for loss in LOSSES:
        o.step()
        schedule.step(loss)
        out.append(o.param_groups[0]["lr"])
    return out


def table(name, values, kind="double"):
    print(f"static const {kind} {name}[{len(values)}] = {{{', '.join(map(repr, values))}}};")


print("/* Made by make_schedule_goldens.py with PyTorch %s. */" % torch.__version__.split("+")[0])
table("linear", rates(lambda o: LinearLR(o, 1, 0, total_iters=10), 10))
for n in (1, 2, 7, 20):
    table(f"one_cycle_{n}",
          rates(lambda o: OneCycleLR(o, 0.4, total_steps=n + 1, cycle_momentum=False), n + 1))
table("plateau_losses", LOSSES)
table("plateau", plateau(0.4, patience=1))
table("plateau_own", plateau(0.4, patience=0, factor=0.5))
table("plateau_tiny", plateau(1.5e-8, patience=0, factor=0.5))
