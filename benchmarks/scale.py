"""What happens past one machine, reckoned before any is rented; the words are in docs/scale.md.

python benchmarks/scale.py [--tflops 989] [--utilisation 0.4] [--batch 24]

Counted: the operations of a training step at the paper's sizes (on the meta device, no weights),
gradient and checkpoint bytes; timed: order and manifest of made-up sets up to a billion samples.
Reckoned from those and from what you give: seconds a step for 8 to 512 GPUs. Nothing here has been
measured on GPUs. The utilisation is an assumption, --tflops the data sheet's bf16 figure of an
H100 or H200 without sparsity.

Model: GPUs of a machine reduce their gradients over NVLink, then the machines over the network,
both while the backward pass still runs; only what takes longer than that pass, and the last bucket,
is waited for. A ring of n moves 2 (n - 1) / n of the bytes through each member's link.
"""

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import torch
from loader_scale import measured
from torch.utils.flop_counter import FlopCounterMode

from rba.settings import build, compose_config, without_sources
from rba.training.check import count_parts

GPUS = (8, 16, 32, 64, 128, 256, 512)
PER_MACHINE = 8
NVLINK = 370e9  # bytes a second that a ring over 8 GPUs with 900 GB/s links sees (nccl-tests)
NETWORKS = {"100 Gb/s": 100e9 / 8 * 0.9, "400 Gb/s": 400e9 / 8 * 0.9}  # bytes a second a machine
BUCKET = 25 * 2**20  # bytes; torch's DDP reduces at least so many at a time
SAMPLE_BYTES = {"alignment": 100e3, "refinement": 230e3}  # 512 px JPEG; pair with its matches
RESULTS = Path(__file__).parent / "results" / "scale.json"


def operations(network: Any, image_size: int) -> dict[str, float]:
    """Return floating-point operations a sample by part: a multiplication and addition are two."""
    side, factor = network.reference_size, network.latent_factor
    counted: dict[str, float] = {}
    with torch.device("meta"):
        pixels = torch.zeros(2, 3, image_size, image_size)
        latents = torch.zeros(
            1, network.latent_channels, image_size // factor, image_size // factor
        )
        mask, time = latents[:, :1], torch.zeros(1, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.encode_images(pixels)  # the image and its masked copy
    counted["autoencoder"] = float(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features = network.encode_tokens(torch.zeros(1, 3, side, side, device="meta"))
    counted["encoder"] = float(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        tokens = network.connect(features.requires_grad_())
        prediction = network.predict(latents, time, mask, latents, tokens)
    counted["unet forward"] = float(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        prediction.sum().backward()
    counted["unet backward"] = float(counter.get_total_flops())
    return counted


def checkpoint_bytes(network: Any) -> dict[str, float]:
    """Return what a resume checkpoint and an export in half precision hold."""
    parts = count_parts(network)
    trained = sum(number for _, number in parts.values())
    everything = sum(total for total, _ in parts.values())
    return {
        "trained parameters": trained,
        "gradients": 4.0 * trained,
        "resume checkpoint": 4.0 * everything + 4.0 * trained + 8.0 * trained,
        "export, float16": 2.0 * everything,
    }


def ring(members: int, size: float, bandwidth: float) -> float:
    """Return the seconds that an all-reduce of ``size`` bytes takes."""
    return 2 * (members - 1) / members * size / bandwidth


def step_seconds(
    gpus: int, batch: int, counted: dict[str, float], gradients: float, rate: float, network: float
) -> dict[str, float]:
    """Return compute, communication and what of it is waited for, of one step."""
    machines = gpus // PER_MACHINE
    compute = batch * sum(counted.values()) / rate
    backward = batch * counted["unet backward"] / rate
    inside = ring(min(gpus, PER_MACHINE), gradients, NVLINK)
    between = ring(machines, gradients, network) if machines > 1 else 0.0
    reduced = inside + between
    waited = max(reduced - backward, reduced * BUCKET / gradients)
    total = compute + waited
    return {
        "compute": compute,
        "reduce": reduced,
        "waited": waited,
        "step": total,
        "efficiency": compute / total,
        "samples a second": gpus * batch / total,
    }


def rows(
    args: argparse.Namespace, counted: dict[str, float], gradients: float
) -> list[dict[str, Any]]:
    """Return the model's table: weak scaling, then the paper's global batch where it divides."""
    made, rate = [], args.tflops * 1e12 * args.utilisation
    for name, bandwidth in NETWORKS.items():
        for gpus in GPUS:
            kinds = {"each GPU the same batch": args.batch}
            if args.global_batch % gpus == 0:
                kinds["the global batch shared out"] = args.global_batch // gpus
            for kind, batch in kinds.items():
                step = step_seconds(gpus, batch, counted, gradients, rate, bandwidth)
                facts = {"network": name, "gpus": gpus, "kind": kind, "batch a gpu": batch}
                read = step["samples a second"] * sum(SAMPLE_BYTES.values()) / len(SAMPLE_BYTES)
                made.append(facts | step | {"bytes read a second": read})
    return made


def main() -> None:
    """Count, time, reckon, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tflops", type=float, default=989.0, help="peak, bf16, dense")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of it; assumed")
    parser.add_argument("--batch", type=int, default=24, help="samples a GPU")
    parser.add_argument("--global-batch", type=int, default=192, help="the paper's (A.3)")
    parser.add_argument("--samples", type=int, nargs="*", default=[10**6, 10**7, 10**8, 10**9])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    config = compose_config("train", ["experiment=paper", *shards])
    with torch.device("meta"):
        network = build(without_sources(config.model.network))
    counted, sizes = operations(network, config.model.image_size), checkpoint_bytes(network)
    table = rows(args, counted, sizes["gradients"])
    for name, value in counted.items():
        print(f"{name:20s} {value / 1e12:8.3f} TFLOP a sample")
    for name, value in sizes.items():
        print(f"{name:20s} {value / 1e9:8.2f} G")
    for row in table:
        print(
            f"{row['network']} {row['gpus']:4d} GPUs, {row['kind']:28s} {row['batch a gpu']:3d}: "
            f"step {row['step']:.3f} s, waited {row['waited']:.3f}, "
            f"efficiency {row['efficiency']:.2f}, {row['samples a second']:.0f} samples/s, "
            f"reads {row['bytes read a second'] / 1e6:.0f} MB/s"
        )
    orders = [measured("order", str(count)) for count in args.samples]
    for one in orders:
        print({name: round(value, 6) for name, value in one.items()})
    facts = {"date": str(date.today()), "torch": torch.__version__, "tflops": args.tflops,
             "utilisation": args.utilisation, "flops_a_sample": counted, "bytes": sizes,
             "rows": table, "orders": orders}  # fmt: skip
    args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
