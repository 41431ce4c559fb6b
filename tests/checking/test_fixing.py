"""Promises about what goes without a warning: all that is no part of the answer, and nothing else."""

from __future__ import annotations

import pytest

from .asking import judged

CAT = "A cat sleeps on the sofa."
TURNS = [
    f"{CAT}<|end_of_text|><|start_header_id|>user<|end_header_id|>\n\nAnd now?",
    f"<|start_header_id|>assistant<|end_header_id|>\n\n{CAT}<|eot_id|>",
    f"<start_of_turn>model\n{CAT}<end_of_turn>",
    f"{CAT}<｜end▁of▁sentence｜>",
    f"<bos>{CAT}<eos><eos>",
    f"ASSISTANT: {CAT}</s>",
    f"Assistant: {CAT}\nHuman: Why?",
    f"{CAT} USER: What colour? ASSISTANT: Black.",
    f"{CAT} ### Instruction: Go on.",
    f"{CAT}\n\nQuestion: Where?\nAnswer: Here.",
    f"[INST] {CAT} [/INST] A dog.",
    f"<|begin_of_box|>{CAT}<|end_of_box|>",
    "A <|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|> sleeps on the sofa.",
    "A <ref>cat</ref><box>(1,2),(3,4)</box> sleeps on the sofa.",
    "A <unk>cat sleeps on the sofa.<0x0A>",
    f"{CAT}<|user|>",
    f"<image>{CAT}",
    f"assistant\n{CAT}",
    f"model\n{CAT}",
    f"{CAT}\nuser\nWhat colour is it?\nassistant\nBlack.",
    f"{CAT}\n\nQuestion 2: Where is it?",
    f"{CAT}<|im_en",
    f"{CAT}</assistant>",
    f'{CAT}\n<tool_call>\n{{"name": "look"}}\n</tool_call>',
    f"思考：猫。\n答案：{CAT}",
    "A▁cat▁sleeps▁on▁the▁sofa.",
    f"{CAT}\\n\\n",
]
THOUGHTS = [
    f"<|channel|>analysis<|message|>Cat?<|end|><|start|>assistant<|channel|>final<|message|>{CAT}<|return|>",
    f"<|channel>thought\nI see a cat.\n<channel|>{CAT}",
    f"<thinking>A cat?</thinking><answer>{CAT}</answer>",
    f"[THINK]A cat?[/THINK]{CAT}",
    f"<unused94>thought\nA cat?<unused95>{CAT}",
    f"<seed:think>A cat?</seed:think>{CAT}",
    f"A cat, I think.</think>\n{CAT}",
    f"<think></think>{CAT}",
    f"{CAT}<think></think>",
    f"<think>One.</think><think>Two.</think>{CAT}",
    f"{CAT}<think>Was that right?",
    f"<|begin_of_thought|>A cat?<|end_of_thought|><|begin_of_solution|>{CAT}<|end_of_solution|>",
    f"<|thinking|>A cat?<|/thinking|>{CAT}",
    f"<think >A cat?</think >{CAT}",
    f"&lt;think&gt;A cat?&lt;/think&gt;{CAT}",
    f"<internal_monologue>A cat?</internal_monologue>{CAT}",
    f"Thinking...\nA cat, I think.\n...done thinking.\n\n{CAT}",
    f"Thought: it is a cat.\nAnswer: {CAT}",
    f"Gedanke: es ist eine Katze.\n**Antwort:** {CAT}",
]
MARKUP = [
    f"**Caption:** *{CAT}*",
    f"**Caption**: {CAT}",
    f"> {CAT}",
    f"# {CAT}",
    f"- {CAT}",
    f"```\n{CAT}\n```\nHope this helps!",
    f"Here is the caption:\n```text\n{CAT}\n```",
    f"~~~\n{CAT}\n~~~",
    f"`{CAT}`",
    f"<p>{CAT}</p>",
    "A cat<br>sleeps on the sofa.",
    "A [cat](https://cats.example/a) sleeps on the sofa.",
    "**A cat** sleeps __on the sofa__.",
    f"\\boxed{{{CAT}}}",
    f'{{"caption": "{CAT}"}}',
    f'```json\n{{"description": "{CAT}", "objects": ["cat", "sofa"]}}\n```',
    f'{{"Beschreibung": "{CAT}"}}',
    f'{{"what": "{CAT}"}}',
    f"{{'caption': '{CAT}'}}",
    f'{{"caption": "{CAT}',
    f"{CAT}\n\n---",
    "A cat\u200b sleeps on the sofa\ufeff.",
]
QUOTES = [
    f'"{CAT}"',
    f"'{CAT}'",
    f"“{CAT}”",
    f"‘{CAT}’",
    f"„{CAT}“",
    f"«{CAT}»",
    f"« {CAT} »",
    f"»{CAT}«",
    f"「{CAT}」",
    f'"{CAT}',
]
UNSPACED_MARKUP = [
    "**橘猫**在沙发上睡觉。",
    "*橘猫*在沙发上睡觉。",
    "__橘猫__在沙发上睡觉。",
    "●橘猫在沙发上睡觉。",
    "##橘猫在沙发上睡觉。",
    "##图片描述\n橘猫在沙发上睡觉。",
    "**图片描述：**橘猫在沙发上睡觉。",
]
LABELS = [
    f"Caption:\n{CAT}",
    f'Caption: "{CAT}"',
    f'"Caption: {CAT}"',
    f"Image description: {CAT}",
    f"Alt: {CAT}",
    f"Answer: {CAT}",
    f"[Caption]: {CAT}",
    f"Title: Cat\nDescription: {CAT}",
    f"Caption: {CAT}\nAlt text: Cat on a sofa",
]
PREAMBLES = [
    (f"Here's a caption for your photo:\n\n> \"{CAT}\"\n\nLet me know if you'd like changes!", CAT),
    ("Sure! The image shows a cat that sleeps.", "A cat that sleeps."),
    ("In this image, a cat sleeps.", "A cat sleeps."),
    ("In this image we can see a cat on a sofa.", "A cat on a sofa."),
    ("This image depicts a cat on a sofa.", "A cat on a sofa."),
    ("The photograph captures a cat on a sofa.", "A cat on a sofa."),
    ("This is a photo of a cat on a sofa.", "A cat on a sofa."),
    ("Of course! Below is a short description:\nA cat sleeps.", "A cat sleeps."),
    ("Das Foto zeigt eine Katze auf dem Sofa.", "Eine Katze auf dem Sofa."),
    ("Auf diesem Bild ist eine Katze auf dem Sofa zu sehen.", "Eine Katze auf dem Sofa."),
    ("Natürlich! Hier ist die Bildunterschrift: Eine Katze schläft.", "Eine Katze schläft."),
    ("Cette photo montre un chat sur un canapé.", "Un chat sur un canapé."),
    ("L’image représente un chat sur un canapé.", "Un chat sur un canapé."),
    ("Sur l'image, un chat dort.", "Un chat dort."),
    ("La imagen muestra un gato en un sofá.", "Un gato en un sofá."),
    ("Por supuesto. Esta es la descripción: Un gato duerme.", "Un gato duerme."),
    ("En esta imagen se puede ver un gato dormido.", "Un gato dormido."),
    ("L'immagine mostra un gatto sul divano.", "Un gatto sul divano."),
    ("Nell'immagine si vedono due gatti.", "Due gatti."),
    ("A imagem mostra um gato no sofá.", "Um gato no sofá."),
    ("Na imagem, pode-se ver um gato dormindo.", "Um gato dormindo."),
    ("この画像には、猫がソファで寝ています。", "猫がソファで寝ています。"),
    ("以下が画像の説明です：\n猫がソファで寝ている。", "猫がソファで寝ている。"),
    ("キャプション：猫がソファで寝ている。", "猫がソファで寝ている。"),
    ("这张图片展示了一只猫在沙发上睡觉。", "一只猫在沙发上睡觉。"),
    ("图片中，一只猫在沙发上睡觉。", "一只猫在沙发上睡觉。"),
    ("好的，以下是图片的描述：一只猫在沙发上睡觉。", "一只猫在沙发上睡觉。"),
    ("На фотографии изображена кошка на диване.", "Кошка на диване."),
    ("Op de foto is een kat te zien.", "Een kat."),
]
ENTITIES = [
    ("A cat &#39;sleeps&#39; &mdash; quietly.", "A cat 'sleeps' — quietly."),
    ("A cat&nbsp;sleeps &quot;soundly&quot;.", 'A cat sleeps "soundly".'),
    ("A cat &amp;amp; a dog &#x26; a bird.", "A cat & a dog & a bird."),
    ("A cat &lt;3 a dog.", "A cat <3 a dog."),
]
HONEST = [
    "The picture shows its age: cracks run across the varnish.",
    "In the picture frame, a spider has made its web.",
    "The image of a dragon winds around a vase.",
    "Photos of a family cover a fridge.",
    "Okay hand sign painted on a wall.",
    "Certainly the oldest oak in the park, split by lightning.",
    "Sure enough, the tide has come in and the boats float.",
    "Great white herons wade in a pond.",
    "Here is a house without a roof, only beams against the sky.",
    "This is where the road ends: a barrier and a field.",
    "Title of a book on a spine: gold letters on red leather.",
    "Caption cards lie beside the exhibits in a museum.",
    "Answering machine on a dusty shelf.",
    "'Tis the season: a wreath with red berries hangs on a door.",
    "An AT&T; van, R&D badge and a M&M's jar.",
    "A file named _draft_final_ on a screen, rated ** of *****.",
    "2 * 3 * 4 is chalked on a board.",
    'A TV of 55" hangs on a wall.',
    "1. FC Köln fans wave scarves.",
    "I <3 NY is printed on a mug.",
    "Die Aufnahme eines Vogels hängt im Flur.",
    "Ja, ein Esel steht auf dem Balkon.",
    "Klar ist der See, und kalt.",
    "Certains arbres ont perdu leurs feuilles.",
    "Claro de luna sobre un lago helado.",
    "Perfecto equilibrio de piedras en la orilla.",
    "Sì, scrive una mano sulla sabbia bagnata.",
    "もちろん雨の日も、市場には傘の列ができる。",
    "画像処理の本が机に積まれている。",
    "写真には撮れない速さでハチドリが飛ぶ。",
    "好的苹果装满了竹筐。",
    "当然的主角是一只大白鹅。",
    "图书馆里坐满了学生。",
    "图钉和便签散落在桌面上。",
]


@pytest.mark.parametrize("said", [*TURNS, *THOUGHTS, *MARKUP, *QUOTES, *LABELS])
def test_only_the_answer_is_left(said: str) -> None:
    """Tokens, second turns, thoughts, Markdown, quotation marks and labels go, and no warning is told."""
    answer = judged(said)
    assert (answer.text, answer.findings, answer.again) == (CAT, (), None)


@pytest.mark.parametrize("said", UNSPACED_MARKUP)
def test_markdown_goes_where_words_have_no_spaces(said: str) -> None:
    """A mark may stand between two letters there."""
    assert judged(said).text == "橘猫在沙发上睡觉。"


@pytest.mark.parametrize(("said", "left"), [*PREAMBLES, *ENTITIES])
def test_preambles_and_entities_go(said: str, left: str) -> None:
    """Behind a preamble the text begins with a capital letter; entities become what they stand for."""
    assert (judged(said).text, judged(said).again) == (left, None)


@pytest.mark.parametrize("said", HONEST)
def test_an_honest_text_stays_as_it_is(said: str) -> None:
    """What only looks like a preamble, a label or markup is no such thing."""
    assert (judged(said).text, judged(said).again) == (said, None)


@pytest.mark.parametrize(
    "said", ["FRESH BREAD «daily»", "User: admin", "# 1 Pizza", "The image shows NOTHING", '"Stop"']
)
def test_the_words_in_a_picture_are_the_pictures_own(said: str) -> None:
    """Of visible text neither quotation marks nor names, labels and phrases are taken away."""
    answer = judged(said, "visible_text")
    assert (answer.text, answer.findings) == (said, ())


@pytest.mark.parametrize(
    "said", ["", "None", "There is no visible text in the image.", "Kein Text.", "（なし）", "无"]
)
def test_nothing_to_read_is_an_empty_text(said: str) -> None:
    """A picture without words has an empty visible text, however the model says so."""
    answer = judged(said, "visible_text")
    assert (answer.text, answer.findings, answer.is_usable) == ("", (), True)


@pytest.mark.parametrize(
    "said",
    [
        f"Absolutely, here you go: {CAT}",
        f"¡Claro! Aquí tienes: {CAT}",
        f"Bien sûr, voilà : {CAT}",
        f"The caption could be: {CAT}",
    ],
)
def test_an_answer_that_is_handed_over_stands_alone(said: str) -> None:
    """Words that hand over an answer go, also if they do not name what they hand over."""
    assert judged(said).text == CAT


def test_numbers_go_from_a_numbered_list_and_a_field_of_one_text_takes_the_first() -> None:
    """A caption keeps all lines; a title or an alternative text was offered as a choice."""
    assert judged("1. A cat sleeps.\n2. A dog waits.").text == "A cat sleeps. A dog waits."
    assert judged("1. A Cat\n2. At Home\n3. Rest", "title").text == "A Cat"
    assert judged("1. FC Köln plays in red.").text == "1. FC Köln plays in red."
    assert judged("3. Bahn\n4. Bahn", "visible_text").text == "3. Bahn 4. Bahn"


@pytest.mark.parametrize(
    "said",
    [
        'The text in the image reads: "STOP"',
        'The image contains the text "STOP".',
        "Der Text auf dem Schild lautet „STOP“.",
        "Le texte visible sur la photo est « STOP »",
        "La imagen contiene el siguiente texto: STOP",
        "图片中的文字是：“STOP”",
    ],
)
def test_visible_text_is_what_can_be_read_and_no_sentence_about_it(said: str) -> None:
    """Words that introduce what was read go, if a colon or quotation marks set it off."""
    assert judged(said, "visible_text").text == "STOP"


@pytest.mark.parametrize(
    "said",
    [
        "The text reads well.",
        '{"user": "Ada"}',
        "“Je pense”",
        "user\nadmin",
        "<user>Ada</user>",
        "None of us",
        "Nothing to declare",
        "Nichts für Feiglinge",
        "Rien ne va plus",
    ],
)
def test_visible_text_stays_what_the_picture_shows(said: str) -> None:
    """JSON, tags, names of speakers and quotation marks on a screen or a sign are its own."""
    assert judged(said, "visible_text").text == " ".join(said.split())


def test_keywords_come_out_of_a_json_object_and_of_a_sentence_that_lists_them() -> None:
    """What wraps a list is no part of its first item; an item may be called as a speaker is."""
    assert judged('{"keywords": ["cat", "sofa"]}', "keywords").keywords == ("cat", "sofa")
    assert judged("The keywords are: cat, sofa", "keywords").keywords == ("cat", "sofa")
    assert judged("- cat\n- sofa\n\nLet me know!", "keywords").keywords == ("cat", "sofa")
    assert judged("model\nuser\ncat", "keywords").keywords == ("model", "user", "cat")


@pytest.mark.parametrize(
    "said",
    [
        "Thought: the sculpture by Rodin sits in a garden.",
        "Réflexion : un miroir dans une flaque.",
        "C:\\new folder\\notes lies open on a screen.",
        "A chart with bars ▁▂▃ on a screen.",
        "A screen shows <user> in green letters.",
        "Here you are free, says a banner over a bridge.",
        "The title is painted over in red.",
    ],
)
def test_what_only_looks_like_a_wrapping_stays(said: str) -> None:
    """Honest captions that begin or look like what goes around an answer."""
    assert judged(said).text == said


def test_a_title_may_be_nothing() -> None:
    """The word for nothing is a title, but not what programs print for a value that is missing."""
    assert judged("Nothing", "title").text == "Nothing"
    assert judged("null", "title").codes == {"empty"}
