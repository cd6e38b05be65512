"""Other audio models that `transformers` loads, as an engine beside mini: ``hf:OWNER/NAME``, or ``hf:FOLDER``.

One adapter over the processor and its chat template. An engine's prompts become the turns of a conversation: each
example is a turn of its own with its sound and its answer, where the model takes several sounds. Neighbours are found
by mini's CLAP. Nothing is downloaded here, and no code of a repository is run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from afcore import paths
from afcore.audio.recording import open_recording
from afcore.audio.windows import WindowPlan
from afcore.clap import Clap
from afcore.clap.mini import MiniClap
from afcore.encoders import AudioEncoder
from afcore.encoders.mini import MiniEncoder
from afcore.engine.engine import Engine
from afcore.engine.hearing import listen
from afcore.engine.language import Key, TextModel
from afcore.engine.loading import PEER, Progress
from afcore.engine.precision import choose_precision
from afcore.errors import BadRequest, MissingPart, first_line
from afcore.model.generation import GenerationSettings, StopAsked
from afcore.prompts import MARKS, Prompt
from afcore.published.peer_files import repository_of
from afcore.retrieval import ExampleBank
from afcore.retrieval.bank import Bank

if TYPE_CHECKING:
    from afcore.audio.recording import Clip
    from afcore.retrieval.example import Example

TESTED = {"qwen2_audio": 7, "audioflamingo3": 0}
"""Kinds of model that tests run, by `model_type`, with the most examples beside the sound that their processors take.
Others are tried as they are, without examples."""
SECOND = 1.0
"""Length of a window of samples, in seconds: what a peer hears is handed on as samples, not as features."""
MOST_SECONDS = 33


def name_of(name: str) -> str:
    """``hf:OWNER/NAME`` -> ``OWNER/NAME``. Raises BadRequest for one that is no name of the hub and no folder."""
    bare = name.removeprefix(PEER)
    return bare if Path(bare).is_dir() else repository_of(name)


def load(name: str, device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress) -> Engine:
    """The peer ``name`` from a folder or from what the hub's cache on this machine has. Raises BadRequest,
    MissingPart."""
    from transformers import AutoModelForMultimodalLM, AutoProcessor

    bare, precision = name_of(name), choose_precision(device, dtype)
    progress(f"Loading {bare}", 0.1)
    try:
        processor = AutoProcessor.from_pretrained(bare, local_files_only=True, trust_remote_code=False)
        model = AutoModelForMultimodalLM.from_pretrained(
            bare, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=precision.dtype
        )
    except (OSError, ValueError, KeyError) as error:
        said = first_line(error)[:200]
        raise MissingPart(
            f"{bare} cannot be loaded: its files are not on this machine (fetch them with `python -m afcore get "
            f"{PEER}{bare}`), or transformers knows no such audio model. It says: {said}"
        ) from error
    text = PeerText(model.eval().to(precision.device), processor)
    encoder, clap = MiniEncoder.load(paths.MINI, torch.device("cpu")), MiniClap.load(paths.MINI)
    bank = SampleBank(Bank(paths.BANK), text.rate) if (paths.BANK / "bank.sqlite").exists() else None
    return Engine(name, text, Samples(text.rate), HearingClap(encoder, clap), bank, precision=precision)


class Samples(AudioEncoder):
    """Hands a sound on as it is: (n, rate) float32, a row for each second, the last one padded."""

    def __init__(self, rate: int):
        self.name, self.width = f"samples-{rate}", rate
        self.plan = WindowPlan(rate, SECOND, SECOND, MOST_SECONDS)

    @property
    def silence(self) -> Tensor:
        """(rate,) zeros."""
        return torch.zeros(self.width)

    def embed(self, samples: np.ndarray) -> Tensor:
        """(n, rate): the samples (T,) themselves."""
        windows, _ = self.plan.cut(samples)
        return torch.from_numpy(windows)


class HearingClap(Clap):
    """Mini's CLAP for whoever does not hear with mini's encoder."""

    def __init__(self, encoder: MiniEncoder, clap: MiniClap):
        self._encoder, self._clap = encoder, clap
        self.name, self.width = clap.name, clap.width

    def audio(self, clip: Clip) -> np.ndarray:
        """(d,) unit vector."""
        _, features = listen(self._encoder, clip)
        return self._clap.audio_from_features(features)

    def text(self, texts: list[str]) -> np.ndarray:
        """(k, d) unit vectors."""
        return self._clap.text(texts)


class SampleBank(ExampleBank):
    """A bank whose sounds are read when they are wanted: samples of all of them would be large."""

    def __init__(self, bank: Bank, rate: int):
        self._bank, self._encoder = bank, Samples(rate)

    def examples(self) -> list[Example]:
        """All examples, by id."""
        return self._bank.examples()

    def clap_matrix(self, model: str) -> tuple[list[int], np.ndarray]:
        """As `ExampleBank.clap_matrix`."""
        return self._bank.clap_matrix(model)

    def features(self, example_id: int, model: str) -> np.ndarray | None:
        """(n, rate) float32 samples of an example."""
        if model != self._encoder.name:
            return None
        clip = open_recording(self._bank.audio_path(example_id), channels=self._bank.channels()).clip()
        return listen(self._encoder, clip)[1].numpy()

    def channels(self) -> str | int:
        """As `ExampleBank.channels`."""
        return self._bank.channels()

    def audio_path(self, example_id: int) -> Path:
        """As `ExampleBank.audio_path`."""
        return self._bank.audio_path(example_id)


@dataclass(frozen=True)
class _Turn:
    question: str
    answer: str | None
    sound: bool


def turns_of(prompt: Prompt) -> list[_Turn]:
    """The turns that a prompt's text stands for: a question with its sound, and its answer but for the last one."""
    marks = MARKS[prompt.kind]
    pieces = re.split(f"({re.escape(marks.audio)}|{re.escape(marks.eoc)})", prompt.text)
    turns, sound, audios = [], False, 0
    for piece in pieces:
        if piece == marks.audio:
            sound, audios = True, audios + 1
            continue
        question, mark, answer = piece.partition(marks.sep)
        if not mark:
            continue  # the opening, an end of a turn
        asked = re.sub(r"^(?:</s>|\s)*user: |\s*\n(?:answer|assistant):\s*$", "", question.removeprefix(marks.eos))
        turns.append(_Turn(asked.strip(), answer.strip() or None, sound))
        sound = False
    return turns


class PeerText(TextModel):
    """A model of `transformers` with its processor as a `TextModel`; ``sounds`` are samples (n, rate)."""

    kind, conversations = "peer", 0

    def __init__(self, model: Any, processor: Any):
        self.model, self.processor = model, processor
        self.tokenizer = processor.tokenizer
        self.rate: int = processor.feature_extractor.sampling_rate

    @property
    def max_shots(self) -> int:
        """Most examples that its processor takes beside the sound."""
        return TESTED.get(self.model.config.model_type, 0)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        """In which number format."""
        found: torch.dtype = self.model.dtype
        return found

    @property
    def paddings(self) -> tuple[str, ...]:
        """None: its processor lays the sounds out."""
        return ()

    def forget(self) -> None:
        """Nothing is kept."""

    def tokens(self, text: str) -> int:
        """How many tokens an answer has."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    def messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        """The conversation as the processor's chat template takes it."""
        told: list[dict[str, Any]] = []
        for turn in turns_of(prompt):
            sound = [{"type": "audio"}] if turn.sound else []
            told.append({"role": "user", "content": [*sound, {"type": "text", "text": turn.question}]})
            if turn.answer is not None:
                told.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        return told

    def inputs(self, prompt: Prompt, sounds: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the processor makes of the conversation and its sounds."""
        if len(sounds) > self.max_shots + 1:
            raise BadRequest(f"This model takes at most {self.max_shots} examples beside the sound itself.")
        text = self.processor.apply_chat_template(self.messages(prompt), add_generation_prompt=True, tokenize=False)
        waves = [sound.reshape(-1).numpy() for sound in sounds]
        heard = {"audio": waves, "sampling_rate": self.rate} if waves else {}
        made = self.processor(text=[text], return_tensors="pt", **heard)
        return {
            name: value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)
            for name, value in made.items()
        }

    def stream(
        self,
        prompt: Prompt,
        sounds: Sequence[Tensor],
        settings: GenerationSettings,
        stop: threading.Event | None = None,
        key: Key | None = None,
    ) -> Iterator[str]:
        """As `TextModel.stream`; with beams the answer comes at its end."""
        from transformers import TextIteratorStreamer

        inputs = self.inputs(prompt, sounds)
        if settings.num_beams > 1:
            yield self._generate(inputs, settings, stop)[0]
            return
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        failed: list[Exception] = []

        def work() -> None:
            try:
                self._generate(inputs, settings, stop, streamer=streamer)
            except Exception as error:  # told where the pieces are read
                failed.append(error)
                streamer.end()

        thread = threading.Thread(target=work, name="afcore-peer", daemon=True)
        thread.start()
        yield from (piece for piece in streamer if piece)
        thread.join()
        if failed:
            raise failed[0]

    def candidates(
        self,
        prompt: Prompt,
        sounds: Sequence[Tensor],
        n: int,
        settings: GenerationSettings,
        stop: threading.Event | None = None,
        key: Key | None = None,
    ) -> list[str]:
        """As `TextModel.candidates`."""
        if n > 1 and settings.temperature <= 0 and settings.num_beams < n:
            raise BadRequest("Several answers need a temperature above 0, or as many beams.")
        return self._generate(self.inputs(prompt, sounds), settings, stop, num_return_sequences=n)

    @torch.inference_mode()
    def score(
        self, prompt: Prompt, sounds: Sequence[Tensor], continuations: Sequence[str], key: Key | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `TextModel.score`: each continuation is read after the whole prompt."""
        inputs, scores, counts = self.inputs(prompt, sounds), [], []
        for text in continuations:
            ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids.to(self.device)
            whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], ids], 1)}
            whole["attention_mask"] = torch.ones_like(whole["input_ids"])
            logits = self.model(**whole).logits[0, -ids.shape[1] - 1 : -1].float().log_softmax(-1)
            scores.append(logits.gather(1, ids[0][:, None]).sum())
            counts.append(ids.shape[1])
        return torch.stack(scores).cpu(), torch.tensor(counts)

    @torch.inference_mode()
    def _generate(
        self, inputs: dict[str, Tensor], settings: GenerationSettings, stop: threading.Event | None, **more: Any
    ) -> list[str]:
        from transformers import StoppingCriteriaList

        draws = settings.temperature > 0
        how: dict[str, Any] = {"do_sample": draws, "num_beams": settings.num_beams}
        if draws:
            how |= {"temperature": settings.temperature, "top_k": settings.top_k, "top_p": settings.top_p}
        if draws and settings.seed is not None:
            torch.manual_seed(settings.seed)
        made = self.model.generate(
            **inputs,
            **how,
            **more,
            max_new_tokens=settings.max_new_tokens,
            stopping_criteria=StoppingCriteriaList([StopAsked(stop)] if stop is not None else []),
        )
        new = made[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]
