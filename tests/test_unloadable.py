"""A checkpoint that cannot be loaded is refused at the start, with what to do about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from captiond.captioners import unloadable
from captiond.captioners.local import LocalCaptioner
from captiond.errors import CannotStart, ExitCode
from tiny_families import save


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llava", tmp_path_factory.mktemp("whole") / "llava")


def _changed(name: str, **keys: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**found, **keys}))

    return change


def _cut(name: str, share: float = 0.5) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return cut


def _gone(*names: str) -> Callable[[Path], None]:
    def go(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return go


def _narrower(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] = 32
    (folder / "config.json").write_text(json.dumps(config))


def _text_alone(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    architecture = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps({**config["text_config"], **architecture}))


DAMAGES = {
    "weights cut": (_cut("model.safetensors"), "not whole"),
    "weights of nothing": (_cut("model.safetensors", 0), "not whole"),
    "weights of another shape": (_narrower, "not whole"),
    "tokenizer cut": (_cut("tokenizer.json"), "not whole"),
    "tokenizer gone": (_gone("tokenizer.json", "tokenizer_config.json"), ""),
    "processor cut": (_cut("processor_config.json"), "not whole"),
    "processor gone": (_gone("processor_config.json"), ""),
    "a processor nobody knows": (_changed("processor_config.json", processor_class="Nonsense"), ""),
    "a family of tomorrow": (_changed("config.json", model_type="llava_9"), "newer than the installed"),
    "a config of nonsense": (_changed("config.json", text_config="none", vision_config=3), ""),
    "a model of text": (_text_alone, ""),
    "a broken template": (lambda folder: _write(folder, "{% for m in %}"), ""),
    "a template that refuses": (lambda folder: _write(folder, "{{ raise_exception('no') }}"), ""),
    "no template": (_gone("chat_template.jinja"), "chat_template.jinja"),
}


def _write(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_cannot_be_loaded_is_told_with_advice(damage: str, whole: Path, tmp_path: Path) -> None:
    """Never a traceback: the setting, the reason, and what fits it."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(whole, folder)
    inflict, wanted = DAMAGES[damage]
    inflict(folder)
    captioner = LocalCaptioner(model_id=str(folder), device="cpu")
    with pytest.raises(CannotStart, match=r"model\.id: .* cannot be loaded: .") as refusal:
        captioner.load()
    captioner.close()
    assert refusal.value.exit_code == ExitCode.WRONG_SETTINGS
    assert wanted in (refusal.value.advice or ""), (str(refusal.value), refusal.value.advice)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "built for another torch"),
        (ImportError("Lfm2VlImageProcessor requires the Torchvision library"), "captiond[families]"),
        (ModuleNotFoundError("No module named 'torchvision'"), "captiond[families]"),
        (ModuleNotFoundError("No module named 'sentencepiece'"), "Install what it asks for"),
        (
            ValueError("Please pass `trust_remote_code=True` to allow custom code to be run."),
            "code of its own",
        ),
        (ValueError("Unrecognized configuration class X for this kind of AutoModel"), "answers in words"),
        (unloadable.NotAskable("no template"), "chat_template.jinja"),
    ],
)
def test_advice_fits_what_was_said(error: Exception, wanted: str) -> None:
    """What libraries say is told apart by what the operator can do."""
    assert wanted in unloadable.advice(error)
