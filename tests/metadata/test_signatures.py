"""Signed pictures: Content Credentials are as valid after a delivery as before, wherever the manifest lies.

The matrix is signed and judged by c2pa-python, which the extra `test-c2pa` brings.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from PIL import Image, features

from captiond.exiftool import Exiftool
from captiond.metadata import beside, xmp_words
from captiond.metadata.describing import Describing
from captiond.records import NO_NOTES, Described, Notes, Texts

from .independent import needs_exiftool
from .making import CAPTION, PLAIN_XMP, XMP, camera_block, exif_segment, picture, saved, with_segments
from .test_every_place import PLAIN, TIFF_XMP, with_chunk, xmp_segment
from .test_heif import saved as saved_heif

ADDRESS = "https://example.org/m/1.c2pa"
TERMS = XMP.replace(b"xmlns:dc=", b"xmlns:dcterms=").replace(b"dc/elements/1.1/", b"dc/terms/")
ATTRIBUTE = TERMS % f' dcterms:provenance="{ADDRESS}">'.encode()
REMOTE = {
    "an attribute": ATTRIBUTE,
    "an element": TERMS % f"><dcterms:provenance>{ADDRESS}</dcterms:provenance>".encode(),
    "a resource": TERMS % f'><dcterms:provenance rdf:resource="{ADDRESS}"/>'.encode(),
    "another prefix": ATTRIBUTE.replace(b"dcterms", b"d"),
    "UTF-16": ATTRIBUTE.decode().encode("utf-16"),
    "damaged": ATTRIBUTE[:-30],
}
LOCAL = {
    "none": PLAIN_XMP,
    "into the file": ATTRIBUTE.replace(ADDRESS.encode(), b"self#jumbf=/c2pa/urn:uuid:1"),
    "blank": ATTRIBUTE.replace(ADDRESS.encode(), b""),
    "another one's property": TIFF_XMP % f' tiff:provenance="{ADDRESS}">'.encode(),
}


def described(data: bytes, format: str = "JPEG", notes: Notes = NO_NOTES, **changes: object) -> Described:
    values = {"replaces": True, "blocks": "auto", "place": None, "xmp": "auto", "text": False} | changes
    return Describing(**values)(data, format, Texts(CAPTION), notes=notes)  # type: ignore[arg-type]


def refused(made: Described, data: bytes, why: str) -> None:
    """The bytes are the same, every target inside says why, and the .xmp serves."""
    assert made.data is data
    inside = [one for one in made.written if one.target != beside.XMP_TARGET]
    assert {one.action for one in inside} == {"refused"}
    assert all(why in (one.reason or "") for one in inside)
    assert {one.text for one in beside.descriptions(made.xmp)} == {CAPTION}


@pytest.mark.parametrize("packet", REMOTE.values(), ids=REMOTE.keys())
def test_remote_credentials_keep_the_bytes(packet: bytes) -> None:
    """An address of a manifest in XMP means that the bytes are signed, however it is said."""
    assert xmp_words.names_remote_credentials(packet)
    data = with_segments(PLAIN, xmp_segment(packet))
    refused(described(data), data, "Content Credentials elsewhere")
    refused(described(data, blocks=("exif", "xmp"), windows=True), data, "Content Credentials elsewhere")


@pytest.mark.parametrize("packet", LOCAL.values(), ids=LOCAL.keys())
def test_what_names_no_address_is_no_signature(packet: bytes) -> None:
    """A pointer into the file, which the manifest in it would stand behind, or none at all hinders nobody."""
    assert not xmp_words.names_remote_credentials(packet)
    made = described(with_segments(PLAIN, xmp_segment(packet)))
    assert made.written[0].action == "wrote"


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_remote_credentials_count_in_every_format(format: str) -> None:
    """XMP is looked through in each of them."""
    packets: dict[str, dict[str, Any]] = {"WEBP": {"xmp": ATTRIBUTE}, "TIFF": {"tiffinfo": {700: ATTRIBUTE}}}
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + ATTRIBUTE
    data = with_chunk(b"iTXt", text) if format == "PNG" else saved(format, **packets[format])
    refused(described(data, format), data, "Content Credentials elsewhere")


def test_a_manifest_beside_keeps_the_bytes() -> None:
    """A .c2pa file signs the picture that it lies beside."""
    data = with_segments(PLAIN, exif_segment(camera_block("<")))
    refused(described(data, notes=Notes(is_signed=True)), data, "the C2PA manifest beside it")
    refused(described(data, notes=Notes(xmp=ATTRIBUTE)), data, "the C2PA manifest beside it")


def test_a_person_is_kept_before_a_signature_is_told() -> None:
    """A person's words in a signed picture are kept, and no .xmp is put above them."""
    data = with_segments(PLAIN, exif_segment(camera_block("<", b"Grandma")), xmp_segment(ATTRIBUTE))
    made = described(data, replaces=False, xmp="always")
    assert (made.data, made.xmp) == (data, None)


# ---- by c2pa-python ------------------------------------------------------------------------------

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
}


@cache
def signer() -> Any:
    """Somebody with a fresh key and certificate, whom nobody trusts: that is no matter of the bytes."""
    c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed: pip install -e '.[test-c2pa]'")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name(
            [
                x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Nobody"),
            ]
        )
        for name in ("root", "leaf")
    ]
    now, chain = datetime.now(UTC), b""
    for name, key in zip(names, keys, strict=True):
        is_root = key is keys[0]
        usage = x509.KeyUsage(True, False, False, False, False, is_root, is_root, False, False)
        made = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
        made = made.add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
        made = made.add_extension(issuer, critical=False).add_extension(usage, critical=True)
        if not is_root:
            email = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            made = made.add_extension(email, critical=True)
        certificate = made.sign(keys[0], hashes.SHA256())
        chain = certificate.public_bytes(serialization.Encoding.PEM) + chain

    def sign(data: bytes) -> bytes:
        signature = decode_dss_signature(keys[1].sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(part.to_bytes(32, "big") for part in signature)

    return c2pa.Signer.from_callback(sign, c2pa.C2paSigningAlg.ES256, chain.decode(), None)


def unsigned(format: str) -> bytes:
    if format in ("HEIF", "AVIF"):
        return saved_heif(format)
    exif = Image.Exif()
    exif[271] = "ACME"
    out = io.BytesIO()
    picture().save(out, format, exif=exif)
    return out.getvalue()


@cache
def signed(format: str, mode: str) -> tuple[bytes, bytes]:
    """A picture with a manifest embedded, named by its address or beside it; and the manifest."""
    by = signer()
    import c2pa

    action = {
        "action": "c2pa.created",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
    }
    actions = [{"label": "c2pa.actions", "data": {"actions": [action]}}]
    builder = c2pa.Builder(json.dumps({"claim_generator": "tests/1", "title": "a", "assertions": actions}))
    if mode != "embedded":
        builder.set_no_embed()
    if mode == "remote":
        builder.set_remote_url(ADDRESS)
    out = io.BytesIO()
    manifest = builder.sign(by, TYPES[format], io.BytesIO(unsigned(format)), out)
    return out.getvalue(), manifest


def state(format: str, data: bytes, manifest: bytes | None) -> str:
    import c2pa

    with closing(c2pa.Reader(TYPES[format], io.BytesIO(data), manifest_data=manifest)) as reader:
        return str(json.loads(reader.json())["validation_state"])


@pytest.fixture(scope="module")
def exiftool() -> Iterator[Exiftool]:
    tool = Exiftool()
    yield tool
    tool.close()


@needs_exiftool
@pytest.mark.parametrize(
    "changes",
    [{}, {"replaces": False}, {"blocks": ("exif", "xmp", "iptc"), "windows": True}],
    ids=["replace", "keep", "everything"],
)
@pytest.mark.parametrize("mode", ["embedded", "remote", "sidecar"])
@pytest.mark.parametrize("format", TYPES)
def test_signatures_stay_valid(
    format: str, mode: str, changes: dict[str, object], exiftool: Exiftool
) -> None:
    """By another's judgement the picture is as valid after as before, and the .xmp says the caption."""
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    data, manifest = signed(format, mode)
    outside = None if mode == "embedded" else manifest
    assert state(format, data, outside) == "Valid"
    notes = Notes(is_signed=mode == "sidecar")
    made = described(data, format, notes, place=exiftool.place, **changes)
    assert state(format, made.data, outside) == "Valid"
    assert made.data == data
    assert {one.text for one in beside.descriptions(made.xmp)} == {CAPTION}


def test_the_judge_sees_what_writing_would_do() -> None:
    """Were a signed picture written into, c2pa-python would say so: the matrix proves something."""
    for mode in ("remote", "sidecar"):
        data, manifest = signed("JPEG", mode)
        written = with_segments(data, exif_segment(camera_block("<", b"ours")))
        assert state("JPEG", written, manifest) == "Invalid"
