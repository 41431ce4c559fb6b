"""Every section and key of the settings: its type, its default and what is allowed.

Frozen records; the key file is opened only when a caller asks for the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from captiond.settings.library import Library
from captiond.settings.people import Person, read_people
from captiond.settings.refusals import refusal
from captiond.settings.values import (
    SHORTEST_TOKEN,
    Globs,
    Seconds,
    Section,
    Text,
    Tokens,
    hours_understood,
    layout_understood,
    may_be_a_key,
    may_be_a_token,
    model_server,
    read_secret,
    refuse_unless_address,
    root_path,
    split_address,
)
from captiond.support.layout import AS_DROPPED

DEFAULT_MODEL = "microsoft/Phi-3.5-vision-instruct"
DEFAULT_REVISION = "4a0d683eba9f1d0cbfb6151705d1ee73c25a80ca"

FieldName = Literal["caption", "alt_text", "title", "keywords", "visible_text"]


class Folders(Section):
    inbox: Path = Path("/srv/captiond/inbox")
    done: Path = Path("/srv/captiond/done")
    failed: Path = Path("/srv/captiond/failed")
    state: Path = Path("/srv/captiond/state")


class Watch(Section):
    method: Literal["auto", "native", "polling"] = "auto"
    poll_interval_seconds: Seconds = 2.0
    settle_seconds: Seconds = 1.0
    settle_untold_seconds: Seconds = 10.0
    incomplete_after_seconds: Seconds = 600.0
    rescan_seconds: Seconds = 10.0
    ignore: Globs = ()
    first: Globs = ()

    @field_validator("incomplete_after_seconds")
    @classmethod
    def _not_before_it_settles(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("settle_seconds", 0):
            raise ValueError("must not be shorter than `watch.settle_seconds`")
        return value


class Model(Section):
    backend: Literal["transformers", "openai"] = "transformers"
    id: Text = DEFAULT_MODEL
    revision: Text | None = None
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:\d{1,2})?)$")] = "auto"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: Literal["none", "int8", "int4"] = "none"
    num_crops: int = Field(default=4, ge=1, le=64)
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    keep_alive_seconds: Seconds | None = None
    base_url: Text | Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] | None = None
    api_key_file: Path | None = None
    api_key: SecretStr | None = None  # only from the environment: keys do not belong into settings files
    max_side: int = Field(default=2048, ge=384, le=16_384)
    proxy: Text | None = None
    ca_file: Path | None = None
    max_concurrency: int = Field(default=8, ge=1, le=1024)
    timeout_seconds: Seconds = 120.0

    @model_validator(mode="before")
    @classmethod
    def _pin(cls, data: Any) -> Any:
        """The default revision is a commit of the default model, so it counts for that model only.

        A copied settings file may still hold it, though its id was changed or the environment overrules it.
        """
        if not isinstance(data, dict):
            return data
        if data.get("id", DEFAULT_MODEL) == DEFAULT_MODEL:
            return {"revision": DEFAULT_REVISION} | data
        return data | {"revision": None} if data.get("revision") == DEFAULT_REVISION else data

    @field_validator("keep_alive_seconds")
    @classmethod
    def _is_ours_to_let_go(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("backend") == "openai":
            raise ValueError("must be null for `model.backend: openai`: the server minds its own GPU")
        return value

    @field_validator("base_url")
    @classmethod
    def _is_a_server(
        cls, value: str | tuple[str, ...] | None, info: ValidationInfo
    ) -> str | tuple[str, ...] | None:
        if value is None:
            if info.data.get("backend") == "openai":
                raise ValueError("must be set for `model.backend: openai`, e.g. http://vllm:8000/v1")
            return None
        if isinstance(value, str):
            return model_server(value)
        servers = tuple(model_server(one) for one in value)
        if len(set(servers)) < len(servers):
            raise ValueError("must not name a server twice")
        return servers

    @field_validator("proxy")
    @classmethod
    def _is_a_proxy(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("http", "https", "socks5", "socks5h"):
            raise ValueError("must be the address of a proxy, e.g. http://proxy:3128")
        return value

    @property
    def servers(self) -> tuple[str, ...]:
        if self.base_url is None:
            return ()
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @field_validator("api_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not may_be_a_key(value.get_secret_value()):
            raise ValueError("must be one word of printable ASCII characters")
        return value

    def read_api_key(self) -> SecretStr | None:
        """The key from the environment, else from `api_key_file`, read when it is needed."""
        if self.api_key is not None or self.api_key_file is None:
            return self.api_key
        key = read_secret("model.api_key_file", self.api_key_file)
        if not may_be_a_key(key):
            raise refusal(f"`model.api_key_file` ({self.api_key_file}) must hold one key on one line")
        return SecretStr(key)


class Caption(Section):
    prompt: Text = "Describe what is shown in this image."
    max_new_tokens: Tokens = 160
    max_characters: Annotated[int, Field(ge=20, le=100_000)] | None = None


class Fields(Section):
    wanted: Annotated[tuple[FieldName, ...], Field(strict=False)] = ("caption",)
    ask: Literal["separately", "together"] = "separately"
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    alt_text_prompt: Text = "In one short sentence, tell someone who cannot see this picture what it shows."
    alt_text_characters: int = Field(default=125, ge=20, le=250)  # IPTC's own limit is 250
    alt_text_max_new_tokens: Tokens | None = None
    title_prompt: Text = "Give this picture a title of at most eight words, and nothing else."
    title_characters: int = Field(default=80, ge=10, le=250)
    title_max_new_tokens: Tokens | None = None
    title_as: Literal["title", "headline", "both"] = "title"
    keywords_prompt: Text = "List up to twelve keywords for what this picture shows, separated by commas."
    keywords_most: int = Field(default=12, ge=1, le=100)
    keyword_words: int = Field(default=3, ge=1, le=10)
    keywords_max_new_tokens: Tokens | None = None
    vocabulary: Path | None = None
    vocabulary_only: bool = False
    visible_text_prompt: Text = "Copy the words that can be read in this picture: only the words, or nothing."
    visible_text_characters: int = Field(default=2000, ge=1, le=100_000)
    visible_text_max_new_tokens: Tokens | None = None


class Checks(Section):
    second_tries: int = Field(default=2, ge=0, le=10)
    unsure: Literal["deliver", "fail"] = "deliver"
    banned: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    same_answer_limit: int = Field(default=4, ge=2, le=1000)


class Output(Section):
    description: Literal["keep", "replace"] = "keep"
    metadata: Literal["auto"] | Annotated[tuple[Literal["exif", "xmp", "iptc"], ...], Field(strict=False)] = (
        "auto"
    )
    windows: bool = False
    exiftool: Literal["auto", "never"] = "auto"
    xmp_sidecar: Literal["auto", "always", "never"] = "auto"
    xmp_sidecar_name: Literal["full", "stem"] = "full"
    text_sidecar: bool | Literal["caption", "keywords", "lines"] = False  # true: the caption
    duplicates: Literal["skip", "keep"] = "skip"
    layout: Annotated[Text, AfterValidator(layout_understood)] = AS_DROPPED
    approve: Literal[False, "unsure", "all"] = False


class Schedule(Section):
    hours: Annotated[tuple[Text, ...], Field(strict=False), AfterValidator(hours_understood)] = ()


class Cache(Section):
    entries: int = Field(default=100_000, ge=0, le=100_000_000)


class Limits(Section):
    max_pixels: int = Field(default=200_000_000, ge=1)
    max_file_bytes: int = Field(default=1_000_000_000, ge=1)
    attempts: int = Field(default=3, ge=1, le=1000)
    decode_seconds: Seconds = 60.0
    decode_memory_bytes: int = Field(default=2_000_000_000, ge=100_000_000)


class Http(Section):
    listen: str | None = None
    token_file: Path | None = None
    token: SecretStr | None = None  # only from the environment, as model.api_key
    tokens_file: Path | None = None
    root_path: str | None = None
    max_upload_bytes: int = Field(default=100_000_000, ge=1)

    @field_validator("root_path")
    @classmethod
    def _is_where_a_proxy_shows_it(cls, value: str | None) -> str | None:
        return root_path(value) if value is not None else None

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value

    @field_validator("token")
    @classmethod
    def _is_a_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not may_be_a_token(value.get_secret_value()):
            raise ValueError(f"must be one word of at least {SHORTEST_TOKEN} printable ASCII characters")
        return value

    def read_token(self) -> SecretStr | None:
        """The token from the environment, else from `token_file`, read when it is needed."""
        if self.token is not None or self.token_file is None:
            return self.token
        token = read_secret("http.token_file", self.token_file)
        if not may_be_a_token(token):
            raise refusal(
                f"`http.token_file` ({self.token_file}) must hold one word of at least {SHORTEST_TOKEN} "
                "printable ASCII characters; `openssl rand -hex 32` makes one"
            )
        return SecretStr(token)

    def read_people(self) -> tuple[Person, ...]:
        """The people that `tokens_file` names, read when they are needed."""
        return read_people(self.tokens_file) if self.tokens_file is not None else ()


class Notify(Section):
    url: Text | None = None
    token_file: Path | None = None
    token: SecretStr | None = None  # only from the environment, as model.api_key
    timeout_seconds: Seconds = 10.0

    @field_validator("url")
    @classmethod
    def _is_a_server(cls, value: str | None) -> str | None:
        if value is not None:
            refuse_unless_address(
                value, "e.g. https://example.org/hook", key="notify.token_file", may_ask=True
            )
        return value

    @field_validator("token")
    @classmethod
    def _is_a_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not may_be_a_key(value.get_secret_value()):
            raise ValueError("must be one word of printable ASCII characters")
        return value

    def read_token(self) -> SecretStr | None:
        """The token from the environment, else from `token_file`, read when it is needed."""
        if self.token is not None or self.token_file is None:
            return self.token
        token = read_secret("notify.token_file", self.token_file)
        if not may_be_a_key(token):
            raise refusal(f"`notify.token_file` ({self.token_file}) must hold one token on one line")
        return SecretStr(token)


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Profile(Section):
    """What is different for some pictures: whole sections, as they are for these."""

    match: Globs
    skip: bool = False
    caption: Caption = Caption()
    fields: Fields = Fields()
    checks: Checks = Checks()
    output: Output = Output()

    @property
    def name(self) -> str:
        """The name that `explain` and the sidecar give it."""
        return ", ".join(self.match)

    @field_validator("match")
    @classmethod
    def _says_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("must name the pictures that it is for, e.g. shop/**")
        if any(pattern.startswith("!") for pattern in value):
            raise ValueError("must not hold a pattern with `!`: the first profile that matches counts")
        return value


class Settings(Section):
    folders: Folders = Folders()
    watch: Watch = Watch()
    model: Model = Model()
    caption: Caption = Caption()
    fields: Fields = Fields()
    checks: Checks = Checks()
    profiles: Annotated[tuple[Profile, ...], Field(strict=False)] = ()
    libraries: Annotated[tuple[Library, ...], Field(strict=False)] = ()
    output: Output = Output()
    schedule: Schedule = Schedule()
    cache: Cache = Cache()
    limits: Limits = Limits()
    http: Http = Http()
    notify: Notify = Notify()
    log: Log = Log()
    source: Path | None = None  # the file these settings were read from
    # For each key that was set, by its dotted name, the place where.
    origins: dict[str, str] = Field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Whether all values are equal, wherever they were set."""
        if not isinstance(other, Settings):
            return NotImplemented
        return super().__eq__(other.model_copy(update={"origins": self.origins}))

    def __hash__(self) -> int:
        return hash((self.source, self.folders, self.model))

    @model_validator(mode="after")
    def _can_be_asked_together(self) -> Settings:
        if self.fields.ask == "together" and self.model.backend != "openai":
            raise PydanticCustomError(
                "between",
                "must be separately, except for `model.backend: openai`; the model on this machine answers "
                "all questions about a picture in one go anyway",
                {"section": "fields", "name": "ask"},
            )
        return self


_SECTIONS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
KEYS: dict[str, dict[str, Any]] = {
    section: {name: field.annotation for name, field in model.model_fields.items()}
    for section, model in _SECTIONS.items()
}
SECRET = {("model", "api_key"), ("http", "token"), ("notify", "token")}  # not keys of the file
NOT_SHOWN = {
    *SECRET,
    ("model", "base_url"),
    ("model", "proxy"),
    ("notify", "url"),
}  # their values may hold secrets, which must not be read in a log
