"""The shape of the network: a Phi-3 text decoder beside a CLIP tower.

This room reads the published config.json as it is, fills in what that file leaves out (the tower's
dimensions, which the original code hard-codes) and refuses variants that the network does not implement.  It
never looks at weights, pictures or tokens.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import CLIPVisionConfig, Phi3Config

# openai/clip-vit-large-patch14-336, which the checkpoint names without repeating its numbers.
# CLIPVisionConfig() without arguments would be ViT-B/32.
CLIP_L14_336: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 768,
}

# What the network implements; the published checkpoint says exactly this.
_EMBEDDING = {
    "embedding_cls": "image",
    "hd_transform_order": "sub_glb",
    "projection_cls": "mlp",
    "use_hd_transform": True,
    "with_learnable_separator": True,
}


class Phi3VConfig(Phi3Config):  # type: ignore[no-untyped-call]  # its __init_subclass__ is untyped
    """`phi3_v`: all of Phi3Config, flat, plus three blocks.

    `vision_config` is a CLIPVisionConfig (ViT-L/14 at 336 pixels where the file has no such block);
    `img_processor` and `embd_layer` are kept as published, so that a saved checkpoint still carries them.
    A `sliding_window` that reaches the maximum length never masks anything and becomes None.

    Raises: ValueError, if the embedding layer is of another kind, or the tower's patches do not merge 2x2.
    """

    model_type = "phi3_v"
    sub_configs: ClassVar[dict[str, type]] = {"vision_config": CLIPVisionConfig}

    vision_config: Any = None
    img_processor: dict[str, Any] | None = None
    embd_layer: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        # The published file asks for flash attention, which the caller decides, and for its own code, which
        # is never run; a copy saved from here asks for neither.
        for request in ("_attn_implementation", "auto_map"):
            kwargs.pop(request, None)
        if not isinstance(self.vision_config, CLIPVisionConfig):
            self.vision_config = CLIPVisionConfig(**{**CLIP_L14_336, **(self.vision_config or {})})
        if self.sliding_window is not None and self.sliding_window >= self.max_position_embeddings:
            self.sliding_window = None
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._refuse_other_variants()

    @property
    def merged_side(self) -> int:
        """Tokens along one side of a crop: the patches along it, merged two by two (12 at 336 pixels)."""
        return int(self.vision_config.image_size // self.vision_config.patch_size // 2)

    def _refuse_other_variants(self) -> None:
        embedding = self.embd_layer or {}
        for key, expected in _EMBEDDING.items():
            if embedding.get(key, expected) != expected:
                raise ValueError(f"embd_layer.{key} is {embedding[key]!r}; only {expected!r} is known here")
        tower = self.vision_config
        if tower.image_size % (2 * tower.patch_size):
            raise ValueError(
                f"vision_config.image_size {tower.image_size} is not a multiple of twice the patch size "
                f"{tower.patch_size}: the patches do not merge 2x2"
            )
        width = (self.img_processor or {}).get("image_dim_out", tower.hidden_size)
        if width != tower.hidden_size:
            raise ValueError(f"img_processor.image_dim_out is {width}, the tower is {tower.hidden_size} wide")
