"""Promises about the answers that are asked for again, and about those that only look like them."""

from __future__ import annotations

import pytest

from captiond.checking import Banned, WrongPattern

from .asking import LIST_PROMPT, PROMPT, judged

REFUSALS = [
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, I cannot identify the people in this photo.",
    "Sorry, I can't help with that.",
    "I cannot provide a description of this image.",
    "Unfortunately, I am unable to view images.",
    "As an AI language model, I don't have eyes.",
    "I apologize, but no image was attached.",
    "It seems you forgot to attach the image.",
    "Please upload the image so that I can describe it.",
    "There is no image provided.",
    "I do not have the ability to see pictures.",
    "Caption: I'm sorry, but I can't describe this picture.",
    "Es tut mir leid, aber ich kann bei dieser Anfrage nicht helfen.",
    "Als KI-Sprachmodell kann ich keine Bilder sehen.",
    "Ich bin nicht in der Lage, Bilder zu sehen.",
    "Ich sehe kein Bild. Bitte laden Sie es hoch.",
    "Je suis désolé, mais je ne peux pas décrire cette image.",
    "En tant qu'IA, je ne peux pas voir.",
    "Il m'est impossible de voir l'image.",
    "Aucune image n'a été fournie.",
    "Lo siento, pero no puedo ayudar con eso.",
    "No puedo identificar a las personas en esta imagen.",
    "No hay ninguna imagen adjunta.",
    "Mi dispiace, non posso aiutarti con questa richiesta.",
    "Non vedo nessuna immagine. Potresti caricarla?",
    "Purtroppo non riesco a vedere l'immagine.",
    "Sinto muito, mas não posso identificar pessoas.",
    "Não consigo ver a imagem.",
    "Peço desculpa, mas não consigo descrever esta fotografia.",
    "申し訳ございませんが、画像を表示できません。",
    "画像が添付されていません。",
    "すみません、この画像の人物を特定することはできません。",
    "对不起，我无法查看图片。",
    "我无法识别照片中的人物。",
    "您似乎没有上传图片。",
    "К сожалению, я не могу описать это изображение.",
    "Sorry, ik kan geen personen identificeren.",
    "죄송하지만 이 이미지를 설명할 수 없습니다.",
    "عذرًا، لا يمكنني وصف هذه الصورة.",
]
LIKE_REFUSALS = [
    "Sorry, we're closed: a card hangs in a shop window.",
    "I can't stop dancing, says a neon sign.",
    "Unable to fly, a penguin waddles over ice.",
    "As an angel, a girl stands on a stage.",
    "No image remains on the faded poster.",
    "There is no picture on the wall, only a nail.",
    "Please do not feed the ducks, says a sign by a pond.",
    "Leider geschlossen: ein Schild an der Tür einer Bäckerei.",
    "Désolé pour le bruit, dit un mot collé sur la porte.",
    "Perdona nuestro desorden, dice un letrero en una obra.",
    "Scusate il disagio, recita un cartello del cantiere.",
    "Desculpe o transtorno, diz a placa em frente à obra.",
    "申し訳程度の日陰に犬が寝ている。",
    "抱歉二字写在黑板上。",
    "无法通行的山路上堆满落石。",
]
LOOPS = [
    "A dog and a cat and a dog and a cat and a dog and a cat and a dog and a cat and a dog.",
    "A red car, " * 30,
    "no " * 20,
    "A street with " + "tree-" * 60,
    "路边有一棵树，路边有一棵树，路边有一棵树，路边有一棵树。",
    "A wall " + "of brick" * 20,
]
WRONG_LANGUAGES = [
    ("en", "Eine alte Frau füttert im Park die Tauben und liest dabei eine Zeitung."),
    ("de", "Een oude man zit op een bankje in het park en leest de krant."),
    ("de-AT", "A fisherman mends a net on the quay while gulls watch him."),
    ("pt-BR", "Un anciano pasea a su perro por la orilla del río mientras anochece."),
    ("es", "Un vieil homme promène son chien au bord de la rivière à la tombée de la nuit."),
    ("ja", "一位老人坐在公园的长椅上看报纸，旁边放着一把雨伞。"),
    ("zh", "老人が公園のベンチに座って新聞を読んでいる。"),
    ("ru", "Старий чоловік сидить на лавці в парку і читає свіжу газету, поки йде дощ."),
    ("ar", "پیرمردی روی نیمکت پارک نشسته و روزنامه می‌خواند و باران می‌بارد."),
]
RIGHT_LANGUAGES = [
    ("en", "Café René, Château d'Yquem."),
    ("de", "Ein VW-Bus vor dem Café »La Vie est belle«."),
    ("pt-BR", "Um homem passeia com o cachorro na beira do rio ao anoitecer."),
    ("ja", "東京国立博物館"),
    ("zh", "一辆Volkswagen面包车停在IKEA门口，车上写着Happy Holidays。"),
    ("zh-TW", "一位老人坐在公園的長椅上看報紙，旁邊放著一把雨傘。"),
    ("xx", "Whatever a language that nobody knows may say here, in words enough."),
    ("", "Whatever a language that nobody knows may say here, in words enough."),
]


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_is_asked_again(said: str) -> None:
    """A refusal, in many languages, is no caption, and nothing of it can be delivered."""
    answer = judged(said)
    assert (
        "refusal" in answer.codes and answer.again == "another" and not answer.is_usable and answer.needs_look
    )


@pytest.mark.parametrize("said", LIKE_REFUSALS)
def test_an_honest_text_is_no_refusal(said: str) -> None:
    """ "Sorry" and "unable to" may stand in an honest caption, even at its beginning."""
    assert (judged(said).text, judged(said).again) == (said, None)


@pytest.mark.parametrize(
    "said", ["", " \n", "<|im_end|>", '""', "```\n```", "**", "Caption:", "Here is a caption for the image:"]
)
def test_nothing_said_is_asked_again(said: str) -> None:
    """An answer of which nothing is left is empty."""
    answer = judged(said)
    assert (answer.text, answer.again, answer.is_usable) == ("", "another", False)
    assert answer.codes == {"empty"}


@pytest.mark.parametrize("field", ["caption", "title", "visible_text", "keywords"])
def test_only_thoughts_are_told_as_such(field: str) -> None:
    """Whoever gets nothing but thoughts learns what to set."""
    (finding,) = judged("<think>The user wants", field, finish_reason="length").findings  # type: ignore[arg-type]
    assert finding.code == "empty" and "thinking" in finding.message and "tokens" in finding.message


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (PROMPT, PROMPT),
        ("describe what is shown in this image", "describe what is shown in this image"),
        (f'"{PROMPT}"', PROMPT),
        (f"{PROMPT}\nA dog runs.", "A dog runs."),
    ],
)
def test_an_echo_of_the_prompt_is_asked_again(said: str, left: str) -> None:
    """The prompt said again is no caption; what follows it may still be delivered if nothing better comes."""
    answer = judged(said)
    assert "echo" in answer.codes and answer.again == "another" and answer.text == left


def test_a_caption_that_shares_words_with_its_prompt_is_no_echo() -> None:
    """A title of three words of the prompt is a title."""
    assert judged("A short title", "title", prompt="Give the picture a short title.").again is None


@pytest.mark.parametrize("said", LOOPS)
def test_a_loop_is_asked_again(said: str) -> None:
    """Four words three times, a syllable without end: the model turns in circles."""
    assert "loop" in judged(said).codes


@pytest.mark.parametrize(
    "said",
    [
        "Row after row after row of vines.",
        "ゆらゆら、ゆらゆら、ゆらゆらと揺れる風鈴。",
        "A dog and a cat and a bird and a fox.",
    ],
)
def test_a_text_may_repeat_itself_a_little(said: str) -> None:
    """Rhythm is no loop."""
    assert judged(said).findings == ()


@pytest.mark.parametrize(("language", "said"), WRONG_LANGUAGES)
def test_the_wrong_language_is_asked_again(language: str, said: str) -> None:
    """Another script, and another language with words enough, is told from the one that was wanted."""
    assert judged(said, language=language).codes == {"wrong_language"}


@pytest.mark.parametrize(("language", "said"), RIGHT_LANGUAGES)
def test_names_and_short_texts_are_in_no_wrong_language(language: str, said: str) -> None:
    """Foreign names, titles of few words, another country's spelling, and unknown languages pass."""
    assert judged(said, language=language).again is None


def test_far_too_long_asks_for_fewer_words() -> None:
    """More than half as long again as allowed: one more try; shortened all the same, if none is better."""
    answer = judged(
        "A dog with a red collar and a stick in its mouth runs along a beach at sunset.", limit_characters=40
    )
    assert answer.again == "shorter" and answer.codes == {"too_long", "shortened"} and len(answer.text) <= 40


@pytest.mark.parametrize(
    ("banned", "said"),
    [
        ("stunning", "A Stunning view."),
        ("must see", "A must\nsee place."),
        ("/sunset[s]?$/", "Boats at sunset"),
        ("息をのむ", "息をのむほど美しい。"),
        ("C++", "A book on C++ lies there."),
    ],
)
def test_banned_words_send_a_text_back(banned: str, said: str) -> None:
    """Words count whole and in any case, expressions wherever they match, and Japanese words anywhere."""
    assert "banned" in judged(said, banned=Banned.of([banned])).codes


@pytest.mark.parametrize(
    ("banned", "said"),
    [("last", "Ein Lastwagen."), ("art", "A party."), ("", "Anything."), ("/^b/", "A bird.")],
)
def test_a_banned_word_within_another_is_none(banned: str, said: str) -> None:
    """`last` does not ban a Lastwagen."""
    assert judged(said, banned=Banned.of([banned])).again is None


def test_a_pattern_without_end_is_given_up_and_told() -> None:
    """A user's expression that would take years counts as no match, and is named."""
    answer = judged("a" * 40 + "! A dog runs.", banned=Banned.of(["/(a|aa)+$/", "dog"]))
    assert answer.slow_patterns == ("/(a|aa)+$/",) and "banned" in answer.codes


@pytest.mark.parametrize("wrong", ["/(/", "/" + "a" * 2000 + "/", "/a{9999999999999999}/"])
def test_a_pattern_that_is_none_is_refused(wrong: str) -> None:
    """The settings learn which of their patterns cannot be understood."""
    with pytest.raises(WrongPattern):
        Banned.of([wrong])


def test_words_of_a_sign_may_be_in_any_language_and_repeat_themselves() -> None:
    """Visible text is the picture's own: no check of language, repetition, addresses or quotations."""
    said = "出口 出口 出口 EXIT www.loaf.example 020 7946 0321 “Open” Open Open Open Open Open Open"
    assert judged(said, "visible_text", language="de").findings == ()


def test_a_visible_text_without_end_is_a_loop() -> None:
    """But one that only the token limit ended, and that hardly says anything new, is a loop."""
    assert "loop" in judged("SALE " * 400, "visible_text", finish_reason="length").codes


@pytest.mark.parametrize(
    "said", [LIST_PROMPT, "I'm sorry, but I can't help with this image.", "None", "the, and, of"]
)
def test_a_list_without_keywords_is_asked_again(said: str) -> None:
    """A refusal, an echo and stop words are no keywords."""
    answer = judged(said, "keywords")
    assert answer.again == "another" and not answer.is_usable


@pytest.mark.parametrize(
    "said",
    [
        "I'm sorry.",
        "My apologies, but saying what is in this image isn't something I can do.",
        "As a responsible AI, I cannot identify people.",
        "While I can't identify the people, the image shows two men.",
        "Image not found.",
        "Imagen no encontrada.",
        "Même si je ne peux pas identifier les personnes, on voit deux hommes.",
        "ERROR: image could not be decoded",
        "Auch wenn ich die Personen nicht identifizieren kann, stehen dort zwei.",
        "Aunque no puedo identificar a las personas, hay dos hombres.",
        "画像が添付されていないようです。もう一度アップロードしてください。",
    ],
)
def test_a_refusal_is_known_by_its_beginning_in_more_forms(said: str) -> None:
    """A bare apology, an error of a server told as an answer, and a refusal that then goes on."""
    assert "refusal" in judged(said).codes


@pytest.mark.parametrize(
    "said",
    [
        "Aucune image ne subsiste sur l'écran noir d'un vieux téléviseur.",
        "Nessuna immagine sacra resta nella nicchia sopra il portone.",
        "Nenhuma imagem resta na parede da igreja.",
        "Ninguna imagen queda en la pared de la iglesia.",
        "Although no one is there, the lamps are lit.",
        "Aunque no es de noche, la farola está encendida.",
    ],
)
def test_a_picture_without_pictures_is_no_refusal(said: str) -> None:
    """That no image hangs or remains somewhere is seen in the picture."""
    assert "refusal" not in judged(said).codes


@pytest.mark.parametrize("said", ["None", "null", "N/A", "undefined", "Nichts.", "[None]", "无"])
def test_a_word_for_nothing_is_no_caption(said: str) -> None:
    """It counts as empty, so that the model is asked again."""
    assert judged(said).codes == {"empty"}
