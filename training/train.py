"""Train the demo model: python training/train.py --out FOLDER

The network and the image processor are the daemon's own (`captiond.phi3v`).  Beside the words of the answer,
the projected image tokens are asked what covers their cell (`data.ASPECTS`); those heads are thrown away
afterwards.  So the tower is taught by every cell of a picture, not only through the words.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

import data
import tokenizer as tokenizers
from captiond.phi3v.configuration import Phi3VConfig
from captiond.phi3v.image_processing import Phi3VImageProcessor
from captiond.phi3v.modeling import Phi3VForCausalLM

CROP, CROPS, PATCH = 84, 4, 14
WIDTH, LAYERS, HEADS = 128, 4, 4  # of the decoder and of the tower
MATRIX_RATE, OTHER_RATE = 6e-3, 3e-3
Batch = dict[str, torch.Tensor]


def build_config(tokenizer: Any) -> Phi3VConfig:
    """The published config.json in small; special ids follow the small vocabulary."""
    bands = WIDTH // HEADS // 2
    padding = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    config = Phi3VConfig(
        architectures=["Phi3VForCausalLM"],
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=8192,
        original_max_position_embeddings=4096,
        rope_scaling={"type": "su", "short_factor": [1.0] * bands, "long_factor": [2.0] * bands},  # type: ignore[call-arg]
        sliding_window=8192,
        bos_token_id=1,
        eos_token_id=padding,
        pad_token_id=padding,
        embd_layer={
            "embedding_cls": "image",
            "hd_transform_order": "sub_glb",
            "projection_cls": "mlp",
            "use_hd_transform": True,
            "with_learnable_separator": True,
        },
        img_processor={
            "name": "clip_vision_model",
            "image_dim_out": WIDTH,
            "num_img_tokens": (CROP // PATCH // 2) ** 2,
        },
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH,
            "num_hidden_layers": LAYERS + 1,  # the last one is never run, as in the real checkpoint
            "num_attention_heads": HEADS,
            "image_size": CROP,
            "patch_size": PATCH,
        },
    )
    # On a CPU the fused kernel's backward pass is several times slower than plain matrix products.
    config._attn_implementation = config.vision_config._attn_implementation = "eager"
    return config


def initialise(model: Phi3VForCausalLM, pixel_values: torch.Tensor) -> None:
    """Scales for a narrow network; the library's 0.02 is meant for thousands of channels."""
    depth = len(model.model.layers) * 2
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            scale = module.weight[0].numel() ** -0.5
            if name.endswith(("o_proj", "down_proj", "out_proj", "fc2")):
                scale /= depth**0.5
            nn.init.normal_(module.weight, std=scale)
    vision = model.model.vision_embed_tokens
    for weights in (model.model.embed_tokens.weight, vision.glb_GN, vision.sub_GN):
        nn.init.normal_(weights, std=0.7)
    embeddings = vision.img_processor.embeddings
    nn.init.normal_(embeddings.class_embedding, std=0.5)
    # Neighbouring patches start out alike, and like attends to like: where they lie need not be found out.
    positions(embeddings.position_embedding.weight)
    for layer in vision.img_processor.encoder.layers:
        layer.self_attn.q_proj.weight.data.mul_(0.7)
        layer.self_attn.k_proj.weight.data.copy_(layer.self_attn.q_proj.weight.data)
    whiten(embeddings.patch_embedding, pixel_values)


@torch.no_grad()
def positions(table: torch.Tensor) -> None:
    """Fill [1 + side * side, width] with waves of each patch's row and column; the first row is no patch."""
    side, bands = round((len(table) - 1) ** 0.5), table.shape[1] // 4
    waves = torch.pi / 2 * torch.arange(side)[:, None] * 0.05 ** (torch.arange(bands) / (bands - 1))
    line = torch.cat((waves.sin(), waves.cos()), dim=1)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    table[1:] = 0.7 * torch.cat((rows, columns), dim=-1).flatten(0, 1)


@torch.no_grad()
def whiten(patch_embedding: nn.Conv2d, pixel_values: torch.Tensor) -> None:
    """Start the first layer from what patches of drawn scenes consist of, edges as loud as plain colour."""
    side, width = patch_embedding.kernel_size[0], patch_embedding.out_channels
    crops = pixel_values.flatten(0, 1).float()
    patches = functional.unfold(crops[crops.abs().amax((1, 2, 3)) > 0], side, stride=side)
    patches = patches.transpose(1, 2).flatten(0, 1)
    strengths, parts = torch.linalg.eigh(patches.T @ patches / len(patches))
    scale = (strengths[-width:] + 0.003 * strengths[-1]).rsqrt()
    patch_embedding.weight.copy_((parts[:, -width:] * scale).T.reshape(patch_embedding.weight.shape))


def optimizers(
    model: nn.Module, heads: nn.Module, rate: float, tower_rate: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for all else; the tower's rate is a share of it."""
    tower, decoder = Sorted(), Sorted()
    for name, weights in model.named_parameters():
        is_inner = weights.ndim == 2 and "embed" not in name.rsplit("vision_embed_tokens")[-1]
        group = tower if "vision_embed_tokens" in name else decoder
        (group.inner if is_inner and "lm_head" not in name else group.rest).append(weights)
    decoder.rest += heads.parameters()

    def groups(kind: str, base: float) -> list[dict[str, Any]]:
        shares = ((decoder, 1.0), (tower, tower_rate))
        return [{"params": getattr(part, kind), "lr": base * rate * share, "full": base * rate * share}
                for part, share in shares if share]  # fmt: skip

    return [
        torch.optim.Muon(groups("inner", MATRIX_RATE), weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups("rest", OTHER_RATE), weight_decay=0.0, betas=(0.9, 0.98), fused=True),
    ]


@dataclass
class Sorted:
    """The weights of one part: the matrices inside its layers, and the rest."""

    inner: list[nn.Parameter] = field(default_factory=list)
    rest: list[nn.Parameter] = field(default_factory=list)


def schedule(progress: float, warm_up: float = 0.02) -> float:
    """A short warm-up, then half a cosine to zero."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warm_up) / (1 - warm_up))


def token_loss(heads: nn.Module, vectors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What the projected image tokens say of their cells, by aspect."""
    answers = heads(vectors).float().split(list(data.ASPECTS.values()), dim=-1)
    found = []
    for index, (aspect, answer) in enumerate(zip(data.ASPECTS, answers, strict=True)):
        weights = torch.ones(answer.shape[-1], device=answer.device)
        if aspect in data.EMPTY_FIRST:  # most cells are empty; what fills the others matters more
            weights[0] = 0.2
        found.append(functional.cross_entropy(answer, labels[:, index], weights))
    return torch.stack(found)


def tower_losses(
    model: Phi3VForCausalLM, heads: nn.Module, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `losses`, of the tower alone: no words are asked."""
    vectors = model.model.vision_embed_tokens(batch["pixel_values"].float(), batch["image_sizes"])
    return torch.zeros((), device=vectors.device), token_loss(heads, vectors, batch["tokens"])


def losses(
    model: Phi3VForCausalLM, heads: nn.Module, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the words and of the image tokens; and the likeliest word at each place of the answers.

    The tower sees each picture once, however many questions are asked about it.
    """
    vectors = model.model.vision_embed_tokens(batch["pixel_values"].float(), batch["image_sizes"])
    ids = batch["input_ids"]
    is_picture = ids < 0
    embeddings = model.model.embed_tokens(ids.clamp(min=0))
    questions = len(ids) // len(batch["image_sizes"])
    filled = embeddings.masked_scatter(is_picture[..., None], vectors.repeat(questions, 1).to(embeddings))
    hidden = model.model(inputs_embeds=filled, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1]).float()
    words = functional.cross_entropy(logits.flatten(0, 1), batch["answers"][:, 1:].flatten())
    return words, token_loss(heads, vectors, batch["tokens"]), logits.argmax(-1)


@torch.no_grad()
def measure(
    model: Phi3VForCausalLM, heads: nn.Module, batches: Sequence[Batch], device: str
) -> dict[str, float]:
    """The share of exact answers to each built-in question on held-out scenes.

    An answer whose every word is the likeliest after the right words before it is what greedy decoding gives.
    """
    right: dict[str, list[float]] = {name: [] for name in data.FIELDS}
    total = 0.0
    for batch in batches:
        words, _, said = losses(model, heads, {name: tensor.to(device) for name, tensor in batch.items()})
        total += words.item() / len(batches)
        answers = batch["answers"][:, 1:]
        agrees = ((said.cpu() == answers) | (answers == data.IGNORED)).all(1)
        for name, hits in zip(data.FIELDS, agrees.chunk(len(data.FIELDS)), strict=True):
            right[name] += hits.tolist()
    return {"loss": round(total, 4)} | {name: round(sum(hits) / len(hits), 4) for name, hits in right.items()}


@torch.no_grad()
def go_on_from(folder: Path, model: Phi3VForCausalLM, tokenizer: Any) -> None:
    """Take over all weights of a checkpoint; words are matched by what they are, as ids may have moved."""
    known = Phi3VForCausalLM.from_pretrained(folder, dtype=torch.float32)
    old_ids = PreTrainedTokenizerFast.from_pretrained(folder).get_vocab()
    initialise_words(model)
    weights = known.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        new, old = model.state_dict()[name].clone(), weights[name]
        for token, index in tokenizer.get_vocab().items():
            if token in old_ids:
                new[index] = old[old_ids[token]]
        weights[name] = new
    model.load_state_dict(weights)


def initialise_words(model: Phi3VForCausalLM) -> None:
    """As `initialise` starts them."""
    nn.init.normal_(model.model.embed_tokens.weight, std=0.7)
    nn.init.normal_(model.lm_head.weight, std=model.lm_head.weight[0].numel() ** -0.5)


def save(model: Phi3VForCausalLM, tokenizer: Any, image_processor: Phi3VImageProcessor, folder: Path) -> None:
    """A checkpoint folder with the published one's files, weights in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    half: Any = copy.deepcopy(model).half()  # type: ignore[no-untyped-call]
    half.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    half.save_pretrained(folder)
    tokenizers.write(folder)
    image_processor.save_pretrained(folder)


def train(
    model: Phi3VForCausalLM, heads: nn.Module, stream: data.Batches, options: Any, device: str,
    log: Callable[..., None],
) -> None:  # fmt: skip
    """All of the stream; `log` is told of every step, with a slowly moving average of the weights."""
    averaged = copy.deepcopy(model).requires_grad_(False)
    if options.compile:
        tower = model.model.vision_embed_tokens.img_processor
        for layer in [*model.model.layers, *tower.encoder.layers[:-1]]:
            layer.compile(dynamic=False)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4)
    both = optimizers(model, heads, options.rate, options.tower_rate)
    has_fast_bfloat16 = device == "cuda" or torch.cpu._is_amx_tile_supported()
    started = time.monotonic()
    for step, batch in enumerate(loader, start=1):
        progress = step / stream.steps
        if options.minutes:
            progress = max(progress, (time.monotonic() - started) / 60 / options.minutes)
        for optimizer in both:
            for group in optimizer.param_groups:
                group["lr"] = group["full"] * schedule(min(progress, 1.0))
        batch = {name: value.to(device) for name, value in batch.items()}
        with torch.autocast(device, torch.bfloat16, enabled=has_fast_bfloat16):
            if progress < stream.only_tower:
                words, tokens = tower_losses(model, heads, batch)
            else:
                words, tokens, _ = losses(model, heads, batch)
        (words + options.token_weight * tokens.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad()
        decay = min(0.998, step / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
        log(step, averaged, [words.item(), *tokens.tolist()], progress >= 1)
        if progress >= 1:
            return


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-checkpoint"), help="folder for checkpoint and log"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, help="end after these, if that is before the last step")
    parser.add_argument("--start", type=Path, help="go on from this checkpoint instead of from nothing")
    parser.add_argument(
        "--shares",
        type=lambda text: [int(share) for share in text.split(",")],
        default=data.SHARES,
        help=f"how often each question is asked: {', '.join(data.FIELDS)}",
    )
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--tower-rate", type=float, default=1.0, help="factor on the tower's, 0: frozen")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True,
                        help="compiled layers: minutes at the start, and faster steps")  # fmt: skip
    parser.add_argument("--token-weight", type=float, default=0.5, help="of the image tokens' losses")
    parser.add_argument("--threads", type=int, default=1, help="one is faster than two on a busy machine")
    parser.add_argument("--every", type=int, default=200, help="steps between measurements")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizers.write(options.out)
    image_processor = Phi3VImageProcessor(num_crops=CROPS, crop_size=CROP, patch_size=PATCH)
    only_tower = 0.0 if options.start else 0.15
    stream = data.Batches(image_processor, tokenizer, options.steps, options.seed, only_tower, options.shares)
    model = Phi3VForCausalLM(build_config(tokenizer))
    if options.start:
        go_on_from(options.start, model, tokenizer)
    else:
        initialise(model, torch.cat([stream.batch(step)["pixel_values"] for step in range(4)]))
    model.model.vision_embed_tokens.requires_grad_(options.tower_rate > 0)
    model.to(device).train()  # type: ignore[arg-type]  # hidden behind a wrapper
    heads = nn.Linear(WIDTH, sum(data.ASPECTS.values())).to(device)
    print(f"{sum(weights.numel() for weights in model.parameters()):,} parameters", flush=True)

    watched = stream.watched(192)
    started = time.monotonic()
    recent: list[list[float]] = []
    lines = (options.out / "log.jsonl").open("w")

    def log(step: int, averaged: Phi3VForCausalLM, losses_now: list[float], is_last: bool) -> None:
        recent.append(losses_now)
        if step % options.every and not is_last:
            return
        says_words = step / options.steps >= only_tower
        figures = measure(averaged, heads, watched, device) if says_words else {}
        means = [round(sum(column) / len(recent), 4) for column in zip(*recent, strict=True)]
        recent.clear()
        losses_by_aspect = dict(zip(data.ASPECTS, means[1:], strict=True))
        seconds = round(time.monotonic() - started)
        line = {"step": step, "seconds": seconds, **figures, "words": means[0], "tokens": losses_by_aspect}
        print(json.dumps(line), flush=True)
        print(json.dumps(line), file=lines, flush=True)
        save(averaged, tokenizer, image_processor, options.out)

    train(model, heads, stream, options, device, log)


if __name__ == "__main__":
    main()
