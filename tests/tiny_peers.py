"""Other audio models, tiny and random: Qwen2-Audio and Audio Flamingo 3 with their own processors and templates."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

RATE = 16_000  # Hz, of the peers
TURN = ["<|im_start|>", "<|im_end|>", "<pad>"]
QWEN = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'audio' %}<sound>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 4096,
    "model_type": "qwen2",
}
SOUND = {"num_mel_bins": 16, "max_source_positions": 100}


def _tokenizer(extra):
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *TURN, *extra]
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(names)}, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<pad>", extra_special_tokens=["<|im_start|>", *extra]
    )


def _features():
    return WhisperFeatureExtractor(feature_size=16, sampling_rate=RATE, chunk_length=2)


def qwen():
    tokenizer = _tokenizer(QWEN)
    torch.manual_seed(0)
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(
            audio_config={
                **SOUND,
                "model_type": "qwen2_audio_encoder",
                "d_model": 32,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
            },
            text_config={**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
            audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        )
    )
    return model.eval(), Qwen2AudioProcessor(_features(), tokenizer)


def flamingo3():
    tokenizer = _tokenizer(["<sound>"])
    torch.manual_seed(0)
    model = AudioFlamingo3ForConditionalGeneration(
        AudioFlamingo3Config(
            audio_config={
                **SOUND,
                "model_type": "audioflamingo3_encoder",
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
            text_config={**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
            audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
        )
    )
    return model.eval(), AudioFlamingo3Processor(_features(), tokenizer, TEMPLATE)


MAKERS = {"qwen2-audio": qwen, "audio-flamingo-3": flamingo3}


def write(folder, maker=qwen):
    """The model as a folder, as the hub has it; returns the folder."""
    model, processor = maker()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def in_cache(cache, repository, maker=qwen):
    """The model where the hub's cache keeps ``repository``."""
    top = cache / ("models--" + repository.replace("/", "--"))
    commit = "0" * 40
    (top / "refs").mkdir(parents=True)
    (top / "refs" / "main").write_text(commit)
    return write(top / "snapshots" / commit, maker)
