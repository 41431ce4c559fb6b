"""The network: pictures and token ids in, logits out.

The decoder is the library's Phi3Model; this room adds which rotary frequencies a row gets, and what
`generate` has to pass on at each step.  Module names are those of the published checkpoint, so its weights
load and save under their own names.  It prepares no pictures and knows no words.

Shapes: B prompts, L positions, H the decoder's width.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin, Phi3Model, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

from captiond.phi3v.configuration import Phi3VConfig
from captiond.phi3v.image_processing import image_token_count
from captiond.phi3v.layers import Phi3VDecoderLayer
from captiond.phi3v.tower import Phi3VImageEmbedding, layouts_of


class Phi3VRotaryEmbedding(Phi3RotaryEmbedding):
    """Short or long frequencies, chosen for each row by its own length.

    The library chooses once for the whole batch, so a long neighbour would change a short row's answer.
    """

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        self._frequencies: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`position_ids` [B or 1, L] -> cosine and sine [B or 1, L, head width], in the dtype of `x`."""
        if self.rope_type != "longrope":
            cosine, sine = super().forward(x, position_ids)
            return cosine, sine
        short, long = self._short_and_long(x.device)
        row_length = position_ids.max(dim=-1, keepdim=True).values + 1
        frequencies = torch.where(row_length > self.config.original_max_position_embeddings, long, short)
        angles = position_ids[..., None].float() * frequencies[:, None]
        angles = torch.cat((angles, angles), dim=-1)
        cosine, sine = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return cosine.to(x.dtype), sine.to(x.dtype)

    def _short_and_long(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        # Kept beside the buffers because `model.to(torch.bfloat16)` would round those.
        if device not in self._frequencies:
            limit = self.config.original_max_position_embeddings
            compute = ROPE_INIT_FUNCTIONS["longrope"]
            short, _ = compute(self.config, device, seq_len=limit)
            long, _ = compute(self.config, device, seq_len=limit + 1)
            self._frequencies[device] = (short, long)
        return self._frequencies[device]


class Phi3VModel(Phi3Model):  # type: ignore[no-untyped-call]  # its __init_subclass__ is untyped
    """The decoder with pictures laid into its embeddings."""

    config: Phi3VConfig

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        self.rotary_emb = Phi3VRotaryEmbedding(config)
        for layer in self.layers:  # not created again: the largest part's weights would be made twice
            layer.__class__ = Phi3VDecoderLayer
        self.vision_embed_tokens = Phi3VImageEmbedding(config)
        self.post_init()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, Phi3VImageEmbedding):
            init.zeros_(module.glb_GN)
            init.zeros_(module.sub_GN)

    def embed(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None,
        image_sizes: torch.Tensor | None,
        mm_token_type_ids: torch.Tensor | None,
    ) -> torch.Tensor:
        """[B, L, H].  Picture vectors replace the rows where `mm_token_type_ids` is 1, in reading order.

        Raises: ValueError, if there are more or fewer such rows than vectors.
        """
        embeddings: torch.Tensor = self.embed_tokens(input_ids)
        if pixel_values is None:
            # Steps of one token come after the prompt; checking their types would stall the GPU each time.
            if input_ids.shape[1] > 1 and mm_token_type_ids is not None and bool(mm_token_type_ids.any()):
                raise ValueError("the prompts hold picture positions, but there are no pixel_values")
            return embeddings
        if image_sizes is None or mm_token_type_ids is None:
            raise ValueError("pixel_values need image_sizes and mm_token_type_ids beside them")
        vectors = self.vision_embed_tokens(pixel_values, image_sizes)
        is_picture = mm_token_type_ids.to(embeddings.device) == 1
        positions = int(is_picture.sum())
        if positions != len(vectors):
            raise ValueError(f"the prompts hold {positions} picture positions, the pictures {len(vectors)}")
        return embeddings.masked_scatter(is_picture[..., None], vectors.to(embeddings))

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values: torch.Tensor | None = None,
        image_sizes: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        if inputs_embeds is None and input_ids is not None:
            inputs_embeds = self.embed(input_ids, pixel_values, image_sizes, mm_token_type_ids)
            input_ids = None
        if position_ids is None and inputs_embeds is not None:
            position_ids = _positions(attention_mask, inputs_embeds.shape[1])
        outputs: BaseModelOutputWithPast = super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        return outputs


class Phi3VForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]  # as above
    """Phi-3.5-vision under the name its checkpoints give.

    Batches are padded on the left; `mm_token_type_ids` marks the picture positions, whose ids are any valid
    ones, so that nothing negative reaches an embedding, a logits processor or decode.
    """

    config_class = Phi3VConfig
    config: Phi3VConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    # Not ClassVar: the base declares them as instance variables.
    _no_split_modules = ["Phi3VDecoderLayer", "CLIPEncoderLayer", "Phi3VImageEmbedding"]  # noqa: RUF012
    _tied_weights_keys = {}  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        self.model = Phi3VModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_sizes: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits float32 [B, L or `logits_to_keep`, vocabulary]; a loss if `labels` [B, L] are given.

        `logits_to_keep=1` spares the 300 MB that all positions of a 16-crop prompt would take.
        """
        kwargs.pop("return_dict", None)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            image_sizes=image_sizes,
            mm_token_type_ids=mm_token_type_ids,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept]).float()
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        next_sequence_length: int | None = None,
        past_key_values: Cache | None = None,
        attention_mask: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """One step's inputs.

        Pictures go along whenever the step covers the prompt: the first one, every one without a cache, and
        the one that starts over because a row has outgrown the short frequencies.
        """
        pictures = {name: kwargs.pop(name, None) for name in ("pixel_values", "image_sizes")}
        starts_over = self._outgrows_short(input_ids, attention_mask, past_key_values)
        if starts_over:
            past_key_values = next_sequence_length = None
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(  # type: ignore[misc]  # its own self type
            input_ids,
            next_sequence_length=next_sequence_length,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        if is_first_iteration or starts_over or not kwargs.get("use_cache", True):
            inputs.update(pictures)
        return inputs

    def _outgrows_short(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, cache: Cache | None
    ) -> bool:
        """Whether some row's cached keys were rotated with the short list and this step needs the long."""
        limit, total = self.config.original_max_position_embeddings, input_ids.shape[1]
        if cache is None or total <= limit or self.model.rotary_emb.rope_type != "longrope":
            return False
        cached = cache.get_seq_length()
        if attention_mask is None:
            return bool(cached <= limit)
        lengths = attention_mask.sum(dim=-1)
        return bool(((lengths > limit) & (lengths - (total - cached) <= limit)).any())

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: torch.LongTensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[torch.LongTensor, dict[str, Any]]:
        """Repeat prompts for beams or several answers, and with each prompt all of its pictures."""
        sizes, types = model_kwargs.get("image_sizes"), model_kwargs.get("mm_token_type_ids")
        pictures: dict[str, torch.Tensor] = {}
        if expand_size > 1 and sizes is not None and types is not None:
            order = [index for row in self._pictures_of_rows(sizes, types) for index in row * expand_size]
            pictures = {name: model_kwargs.pop(name)[order] for name in ("pixel_values", "image_sizes")}
        ids, kwargs = super()._expand_inputs_for_generation(  # type: ignore[misc]  # its own self type
            expand_size=expand_size,
            is_encoder_decoder=is_encoder_decoder,
            input_ids=input_ids,
            **model_kwargs,
        )
        return ids, {**kwargs, **pictures}

    def _pictures_of_rows(self, image_sizes: torch.Tensor, types: torch.Tensor) -> list[list[int]]:
        """Which pictures belong to which prompt, by the positions they take."""
        layouts = layouts_of(image_sizes, self.config.vision_config.image_size)
        counts = [image_token_count(rows, columns, self.config.merged_side) for rows, columns in layouts]
        ends = list(accumulate(counts))
        row_ends = (types == 1).sum(dim=-1).cumsum(-1).tolist()
        borders = [0, *(bisect_right(ends, end) for end in row_ends)]
        return [list(range(first, last)) for first, last in pairwise(borders)]


def _positions(attention_mask: torch.Tensor | None, length: int) -> torch.Tensor | None:
    """Positions counted from each row's first real token; None (count from the cache) without a 2D mask."""
    if attention_mask is None or attention_mask.ndim != 2:
        return None
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
