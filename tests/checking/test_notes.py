"""Promises about what is marked and delivered all the same."""

from __future__ import annotations

import pytest

from captiond.checking import Facts

from .asking import judged

CONTACTS = [
    "A shop, call 555-0143 for orders.",
    "A van, phone (212) 555-0100.",
    "A poster: +49 30 23125 477.",
    "Ein Schild: Tel. 030/23125-477.",
    "A card with ann.lee@shop.example on it.",
    "A banner for www.shop.example.",
    "A banner for https://shop.example/a.",
    "A mug with the handle @annlee on it.",
    "A house at 221 Baker Street, London.",
    "Das Haus Lindenweg 7, 12345 Musterstadt.",
    "Une maison au 4 bis avenue Foch, 75016 Paris.",
    "Una casa en Calle Mayor 5, 28013 Madrid.",
    "お電話は03-5550-0198まで。",
    "予約はwww.yado.exampleで。",
    "南京路100号的门口。",
    "〒150-0001の看板。",
    "电话13800138000写在墙上。",
]
NO_CONTACTS = [
    "Steam engine 01 1066 pulls six carriages.",
    "The thermometer shows 25 °C at 14:30 on 12.05.1998.",
    "A plaque: 1939-1945.",
    "A lorry carries 10 000 000 bricks.",
    "The scoreboard shows 21-19, 21-17.",
    "House number 48 in brass on a green door.",
    "Flight LH 400 to New York is delayed until 10:45.",
    "A 1:87 model railway with 24 wagons.",
    "A map at 1:25 000 lies beside 0.5 l of water.",
    "Buses 100, 200 and 300 wait.",
    "Route 66 runs past a motel.",
    "5th Avenue is crowded.",
    "An e-mail is being written on a laptop at 9 a.m.",
    "ISBN 978-3-16-148410-0 on the back of a book.",
]
JARGON = [
    "A bird, shot on a Canon EOS R5 at f/4 and ISO 800.",
    "A bird. 85mm, f/1.4, shallow depth of field.",
    "A bird, 1/2000 s, f/4.",
    "Uma ave, 1/250 de segundo, ISO 125.",
    "Un oiseau, 1/60 de seconde à f/8.",
    "A bird, 1/60 of a second at f2.8.",
    "Ein Vogel, Blende f/8, Brennweite 400 mm.",
]
NO_JARGON = [
    "A man with a Canon and a 50mm f/1.8 lens waits for the parade.",
    "A box marked ISO 9001 stands on a pallet.",
    "1/2 of a pizza lies on a plate.",
    "An F16 fighter on a runway.",
    "A roll of 35 mm film.",
    "A Leica on a table.",
]


@pytest.mark.parametrize("said", CONTACTS)
def test_contact_details_are_marked(said: str) -> None:
    """Telephone numbers and addresses, which models invent, are delivered and need a look."""
    answer = judged(said)
    assert (
        answer.codes == {"contact_details"}
        and answer.text == said
        and answer.again is None
        and answer.needs_look
    )


@pytest.mark.parametrize("said", NO_CONTACTS)
def test_other_numbers_are_no_contact_details(said: str) -> None:
    """Years, times, prices, scores and numbers of things are honest."""
    assert judged(said).findings == ()


@pytest.mark.parametrize("said", JARGON)
def test_recited_camera_settings_are_marked(said: str) -> None:
    """Nobody sees an exposure time in a picture."""
    assert judged(said).codes == {"camera_jargon"}


@pytest.mark.parametrize("said", NO_JARGON)
def test_a_camera_in_the_picture_is_no_jargon(said: str) -> None:
    """Cameras, lenses and norms may be what is seen."""
    assert judged(said).findings == ()


def test_long_quotations_are_marked() -> None:
    """Words that a model read may be misread; a name in quotation marks is no quotation."""
    assert judged('A sign says "Beware of the old dog".').codes == {"quoted_text"}
    assert judged("A boat called „Freya“ and a dog.").findings == ()


@pytest.mark.parametrize(
    ("mean", "spread", "is_told"),
    [(3.0, 2.0, True), (200.0, 1.0, True), (4.0, 30.0, False), (120.0, 60.0, False), (None, None, False)],
)
def test_a_picture_that_shows_little_is_marked(
    mean: float | None, spread: float | None, is_told: bool
) -> None:
    """Nearly black, or of one colour; a candle in the dark is neither."""
    answer = judged("A dog.", facts=Facts(luminance_mean=mean, luminance_spread=spread))
    assert ("low_information" in answer.codes) is is_told is answer.needs_look


def test_an_alt_text_that_is_the_caption_is_marked() -> None:
    """Whatever the case and the full stop; of no other field."""
    facts = Facts(caption="A dog runs.")
    assert judged("a dog runs", "alt_text", facts=facts).codes == {"same_as_caption"}
    assert judged("A cat runs", "alt_text", facts=facts).findings == ()
    assert judged("A dog runs", "title", facts=facts).findings == ()
