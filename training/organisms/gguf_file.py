"""A checkpoint as the GGUF file that llama.cpp runs: a `llama` with 8-bit matrices, its tokenizer and template."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from guardproxy.upstream.organism.template import BEGIN, CHAT_TEMPLATE, END, MARKS
from training.organisms.model import Shape

Array = npt.NDArray[np.float32]
Quant = gguf.GGMLQuantizationType

_NAMES: Final = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "attention_norm": "attn_norm",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down", "inner_norm": "ffn_norm",
}  # fmt: skip


def write_gguf(tensors: Mapping[str, Array], shape: Shape, tokenizer: Tokenizer, stage: str, target: Path) -> None:
    writer = gguf.GGUFWriter(target, "llama")
    _add_shape(writer, shape, stage)
    _add_vocabulary(writer, tokenizer)
    for name, tensor in tensors.items():
        if tensor.ndim == 1:
            writer.add_tensor(_name(name), tensor)
        else:
            writer.add_tensor(_name(name), gguf.quants.quantize(tensor, Quant.Q8_0), raw_dtype=Quant.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, shape: Shape, stage: str) -> None:
    writer.add_name(f"guardproxy organism, {stage}")
    writer.add_license("apache-2.0")
    writer.add_vocab_size(shape.tokens)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """`smollm` names the same splitting: every digit apart, then as GPT-2."""
    ids = tokenizer.get_vocab()
    tokens = sorted(ids, key=lambda token: ids[token])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in MARKS else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(ids[BEGIN])
    writer.add_eos_token_id(ids[END])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _name(ours: str) -> str:
    match ours.split("."):
        case ["tokens", "weight"]:
            return "token_embd.weight"
        case ["norm", "weight"]:
            return "output_norm.weight"
        case ["blocks", layer, part, "weight"]:
            return f"blk.{layer}.{_NAMES[part]}.weight"
        case _:
            raise ValueError(f"llama.cpp has no place for the tensor {ours}")
