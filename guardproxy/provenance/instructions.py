"""Whether a sentence sounds as if it told an agent what to do. Crude, fast, and in several languages."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from guardproxy.provenance.words import words

_BLANK = re.compile(r"\s")


def _set(text: str) -> frozenset[str]:
    return frozenset(words(text))


# Verbs that orders begin with. As stems are not used here, the plain form is what counts.
_IMPERATIVES: Final = _set(
    "accept access add adjust alter announce append apply approve archive arrange ask assign attach authorize "
    "authorise backup ban begin block book broadcast buy call cancel change check clear click close collect "
    "compile complete compose compress conduct configure connect contact continue convert copy create deactivate "
    "debit decrypt delay delete deliver deny deploy deposit destroy detect develop direct disable disclose "
    "discard display distribute divert download drop edit email employ empty enable encrypt ensure erase "
    "establish evaluate examine exchange execute export extract fabricate fetch file fill find flag follow "
    "forward generate get give go grant help hide identify implement include increase inform initiate inject "
    "insert install introduce invite invoke issue launch leak list load locate lock log make manage manipulate "
    "mark mention message modify monitor move navigate notify obtain offer open order output overwrite pay "
    "perform plan play post prepare print prioritize proceed process promote propose provide publish purchase "
    "push put query read reboot recommend record recover redirect reduce refund register reject release remove "
    "rename repeat replace reply report request reroute reschedule reserve reset respond restart restore retrieve "
    "return reveal review revoke rewrite run save say scan schedule search secure select sell send set share show "
    "shut sign simulate start stop store submit subscribe sudo summarize suspend switch tell terminate test track "
    "transfer translate transmit turn unlock unsubscribe update upgrade upload use utilize verify view visit wipe "
    "wire withdraw write conceal mislead misinform falsify tamper sabotage exploit gather omit bitte sende senden "
    "überweise uberweise lösche losche ignoriere führe fuhre öffne offne erstelle antworte teile envoie envoyez "
    "supprime supprimez ignore ignorez transfere transferez ouvre ouvrez partage exécute envía envia envie "
    "elimina borra ignora transfiere transfiera abre comparte ejecuta responde crea invia cancella apri condividi "
    "esegui rispondi trasferisci enviar apague transfira compartilhe stuur verwijder negeer deel maak verplaats "
    "wyslij usuń usun zignoruj przelej gönder gonder sil yok aktar kirim hapus abaikan"
)
_POLITE: Final = _set(
    "please kindly pls bitte veuillez svp por favor prego per favore alstublieft proszę prosze lütfen lutfen tolong "
    "пожалуйста 请 ください कृपया من فضلك 하세요 주세요"
) - {"por", "per", "من"}
_DUTY: Final = _set("must should need required require mandatory necessary shall have ought")
_YOU: Final = _set("you your yourself assistant agent ai llm bot model chatbot du sie ihr vous tu usted voce")
_ABLE: Final = _set("can could would will kannst können konnen könntest pouvez peux puedes podrías podria puoi")
_THEN: Final = _set("and then to und dann et puis y luego e poi")
_ME: Final = _set("me my i us our mir mein meine mon ma mes mi mis meu minha")
_OVERRIDE: Final = _set(
    "ignore disregard forget override bypass ignoriere ignorez ignora ignorar negeer zignoruj vergiss olvida oublie "
    "oubliez dimentica игнорируй забудь abaikan"
)
_EARLIER: Final = _set(
    "previous prior above earlier preceding instructions instruction prompt rules system vorherigen anweisungen "
    "précédentes precedentes instrucciones anteriores istruzioni precedenti instruções instrucoes инструкции "
    "предыдущие instrukcje poprzednie instructies sebelumnya"
)
_URGENT: Final = _set(
    "important urgent immediately attention critical crucial warning todo task strictly adhere asap now first before "
    "wichtig sofort importante urgente important inmediatamente immédiatement важно срочно"
)
_CHAT: Final = _set("system user assistant inst instruction instructions information prompt human")
_UNSPACED_CUES: Final = (
    "请", "忽略", "必须", "立即", "你", "指令", "之前", "ください", "無視", "してください", "무시", "하세요", "주세요",
)  # fmt: skip


def _kinds() -> Iterator[tuple[int, frozenset[str]]]:
    sets = (_IMPERATIVES, _POLITE, _DUTY, _YOU, _ABLE, _THEN, _ME, _OVERRIDE, _EARLIER, _URGENT)
    return ((1 << place, words) for place, words in enumerate(sets))


_ORDERS, _PLEASES, _OBLIGES, _ADDRESSES, _ASKS, _GOES_ON, _IS_MINE, _OVERRIDES, _IS_EARLIER, _URGES = (
    kind for kind, _ in _kinds()
)
_KINDS: Final = {
    word: sum(kind for kind, words in _kinds() if word in words) for _, known in _kinds() for word in known
}
"""What each word says, as bits: a sentence is read once and not once for each kind."""


def cue(found: list[str], text: str) -> float:
    """From 0 to 1: how much a sentence of these words sounds like an order to whoever reads it."""
    if not found:
        return 0.0
    kinds = [_KINDS.get(word, 0) for word in found]
    said = 0
    for kind in kinds:
        said |= kind
    score = 0.0
    if said:
        head = kinds[0] if not kinds[0] & _PLEASES or len(found) == 1 else kinds[1]
        if said & _PLEASES:
            score += 0.4
        asks = len(found) > 3 and kinds[0] & _ASKS and kinds[1] & _ADDRESSES
        if asks or (head & _ORDERS and len(found) > 2 and _BLANK.search(text.strip())):
            score += 0.4
        elif said & _GOES_ON and len(found) > 4 and any(a & _GOES_ON and b & _ORDERS for a, b in pairwise(kinds)):
            score += 0.15
        if said & _ADDRESSES:
            score += 0.35 if said & _OBLIGES else 0.1
        if said & _IS_MINE:
            score += 0.1
        if said & _OVERRIDES and said & _IS_EARLIER:
            score += 0.6
        if said & _URGES:
            score += 0.15
    if not text.isascii():
        score += 0.3 * sum(mark in text for mark in _UNSPACED_CUES)
    return min(score, 1.0)
