"""litellm, kept to translation: no callbacks, no telemetry, no download of price lists, nothing printed."""

import logging
import os
import warnings
from types import ModuleType

_READ_ONLY = r"Item '\w+' on TypedDict class '\w+' is using the `ReadOnly` qualifier"


def load() -> ModuleType:
    """The library, made quiet. The first call takes seconds, so not on an event loop. Raises ImportError."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    warnings.filterwarnings("ignore", module=r"litellm(\.|$)")
    warnings.filterwarnings("ignore", _READ_ONLY, UserWarning)  # pydantic's, of its types, when it first answers
    import litellm

    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
    litellm.suppress_debug_info = True
    litellm.drop_params = True
    litellm.turn_off_message_logging = True
    litellm.user_url_validation = True  # it fetches images that messages name: never from private addresses
    litellm.callbacks, litellm.success_callback, litellm.failure_callback = [], [], []
    return litellm
