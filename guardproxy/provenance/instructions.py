"""Whether a sentence sounds as if it told an agent what to do. Crude, fast, and in several languages."""

import re
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


def cue(found: list[str], text: str) -> float:
    """From 0 to 1: how much a sentence of these words sounds like an order to whoever reads it."""
    if not found:
        return 0.0
    seen = frozenset(found)
    score = 0.0
    head = found[0] if found[0] not in _POLITE or len(found) == 1 else found[1]
    if not _POLITE.isdisjoint(seen):
        score += 0.4
    asks = len(found) > 3 and found[0] in _ABLE and found[1] in _YOU
    if asks or (head in _IMPERATIVES and len(found) > 2 and _BLANK.search(text.strip())):
        score += 0.4
    elif len(found) > 4 and any(then in _THEN and verb in _IMPERATIVES for then, verb in pairwise(found)):
        score += 0.15
    if not _YOU.isdisjoint(seen):
        score += 0.1 if _DUTY.isdisjoint(seen) else 0.35
    if not _ME.isdisjoint(seen):
        score += 0.1
    if not _OVERRIDE.isdisjoint(seen) and not _EARLIER.isdisjoint(seen):
        score += 0.6
    if not _URGENT.isdisjoint(seen):
        score += 0.15
    if not text.isascii():
        score += 0.3 * sum(mark in text for mark in _UNSPACED_CUES)
    return min(score, 1.0)
