"""The published all-MiniLM-L6-v2 checkpoint, and a small GGUF of what was taught, that llama.cpp runs as `bert`."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Quant = gguf.GGMLQuantizationType

_DTYPES = {"F32": "<f4", "F16": "<f2"}
_WORD_START = "\u2581"  # llama.cpp marks where a word starts; WordPiece marks where one goes on


@dataclass(frozen=True, slots=True)
class Head:
    """The classification head: softmax over `weight @ mean-pooled vector + bias`."""

    labels: Sequence[str]
    weight: Array  # labels x width
    bias: Array


CONTEXT = 256  # tokens: what the published model was trained on; half of the position table is never used
_FINER = ("attn_v.weight", "attn_output.weight")  # 8 bits here lose least for what they cost; 4 bits elsewhere


def write_encoder(
    checkpoint: Path, tensors: Mapping[str, Array], layers: int, target: Path, head: Head, metadata: Mapping[str, str]
) -> None:
    """Writes `tensors`, named as in the checkpoint, as GGUF. `checkpoint` is a folder with config.json, vocab.txt and
    model.safetensors, whose vocabulary and shape they have, but for the number of layers."""
    config = json.loads((checkpoint / "config.json").read_text()) | {"num_hidden_layers": layers}
    writer = gguf.GGUFWriter(target, "bert")
    _add_shape(writer, config)
    _add_vocabulary(writer, (checkpoint / "vocab.txt").read_text(encoding="utf-8").splitlines())
    for key, value in metadata.items():
        writer.add_string(key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for name, tensor in tensors.items():
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if ours is None:
            raise ValueError(f"llama.cpp has no place for the tensor {name}")
        _add_tensor(writer, ours, tensor)
    _add_head(writer, head)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, config: Mapping[str, int]) -> None:
    writer.add_name("guardproxy tool-call classifier")
    writer.add_license("apache-2.0")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_token_type_count(config["type_vocab_size"])


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Sequence[str]) -> None:
    tokens, kinds = zip(*map(_token, vocabulary), strict=True)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    ids = {token: i for i, token in enumerate(vocabulary)}
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_pad_token_id(ids["[PAD]"])
    writer.add_mask_token_id(ids["[MASK]"])
    writer.add_bos_token_id(ids["[CLS]"])
    writer.add_eos_token_id(ids["[SEP]"])


def _token(piece: str) -> tuple[str, gguf.TokenType]:
    if piece == "[UNK]":
        return piece, gguf.TokenType.UNKNOWN
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
        return piece, gguf.TokenType.CONTROL
    if piece.startswith("##") and len(piece) > 2:
        return piece.removeprefix("##"), gguf.TokenType.NORMAL
    return _WORD_START + piece, gguf.TokenType.NORMAL


def published(checkpoint: Path) -> Iterator[tuple[str, Array]]:
    """The tensors of the checkpoint, in single precision."""
    path = checkpoint / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in _DTYPES:
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        flat = np.frombuffer(raw[begin:end], dtype=_DTYPES[entry["dtype"]])
        yield name, flat.reshape(entry["shape"]).astype(np.float32)


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: Array) -> None:
    if name == "position_embd.weight":
        tensor = tensor[:CONTEXT]
    quant = _precision(name, tensor)
    if quant is Quant.F32:
        writer.add_tensor(name, tensor)
    else:
        writer.add_tensor(name, gguf.quants.quantize(tensor, quant), raw_dtype=quant)


def _precision(name: str, tensor: Array) -> Quant:
    if tensor.ndim != 2 or not name.startswith(("token_embd.", "blk.")):
        return Quant.F32
    return Quant.Q8_0 if name.endswith(_FINER) else Quant.Q4_0


def _add_head(writer: gguf.GGUFWriter, head: Head) -> None:
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_uint32("bert.classifier.pooling_type", int(gguf.PoolingType.MEAN))
    writer.add_classifier_output_labels(list(head.labels))
    writer.add_tensor("cls.output.weight", head.weight.astype(np.float32))
    writer.add_tensor("cls.output.bias", head.bias.astype(np.float32))
